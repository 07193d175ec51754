"""A surface between its computed points, for drawing only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smooth(
    alpha: NDArray[np.float64], beta: NDArray[np.float64], values: NDArray[np.float64], points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Add points to a plane until each axis has about so many: monotone cubics along each axis.

    The computed points stay as they are, and what is drawn between four of them lies between the
    lowest and the highest of the four: nothing is smoothed away, and no minimum is invented. Where
    one of the four is NaN, there is nothing between them.

    Args:
        alpha: coordinates of the columns, shape (nx,), ascending.
        beta: coordinates of the rows, shape (ny,), ascending.
        values: shape (ny, nx).
        points: wanted along each axis; an axis that has as many stays as it is.

    Returns: alpha, beta and values of the finer plane, of at most twice as many points an axis.
    """
    beta, values = _along_rows(beta, values, points)
    alpha, turned = _along_rows(alpha, values.T, points)
    return alpha, beta, turned.T


def _along_rows(
    places: NDArray[np.float64], values: NDArray[np.float64], points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cubic Hermite polynomials between the rows of `values`, shape (n, m), which lie at places."""
    parts = -(-points // (places.size - 1)) if places.size < points else 1
    slopes = _slopes(places, values)
    steps = np.diff(places)
    t = (np.arange(parts) / parts)[:, None]
    width = steps[:, None, None]
    start, end = values[:-1, None], values[1:, None]
    between = (
        (1 + 2 * t) * (1 - t) ** 2 * start
        + t**2 * (3 - 2 * t) * end
        + t * (1 - t) ** 2 * width * slopes[:-1, None]
        - t**2 * (1 - t) * width * slopes[1:, None]
    )
    lowest, highest = np.minimum(start, end), np.maximum(start, end)
    between = np.clip(between, lowest, highest)  # by rounding alone it may lie outside
    between[:, 0] = values[:-1]  # exact, and not NaN beside a hole
    finer = places[:-1, None] + steps[:, None] * t.T
    return (
        np.append(finer.ravel(), places[-1]),
        np.concatenate([between.reshape(-1, values.shape[1]), values[-1:]]),
    )


def _slopes(places: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes at the rows: of the parabola through three, limited so that cubics stay monotone.

    The limit is that of Hyman, Accurate monotonicity preserving cubic interpolation, SIAM J. Sci.
    Stat. Comput. 4 (1983): zero at extrema, elsewhere at most three times the flatter neighbour.
    """
    widths = np.diff(places)[:, None]
    steps = np.diff(values, axis=0) / widths
    before, after = np.concatenate([steps[:1], steps]), np.concatenate([steps, steps[-1:]])
    before, after = (
        np.where(np.isnan(before), after, before),
        np.where(np.isnan(after), before, after),
    )
    left, right = np.concatenate([widths[:1], widths]), np.concatenate([widths, widths[-1:]])
    parabola = (before * right + after * left) / (left + right)
    limit = 3 * np.minimum(np.abs(before), np.abs(after))
    return np.where(before * after > 0, np.clip(parabola, -limit, limit), 0.0)

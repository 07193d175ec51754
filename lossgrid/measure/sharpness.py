"""How much a surface can rise within a small box around theta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sharpness(alpha: Floats, beta: Floats, values: Floats, epsilon: float) -> float | None:
    """Epsilon-sharpness in the plane: 100 (max L - L(0, 0)) / (1 + L(0, 0)), a percentage.

    The maximum is over |alpha| <= epsilon, |beta| <= epsilon. Keskar et al., On Large-Batch
    Training for Deep Learning, ICLR 2017, metric 2.3, with the plane's directions as A, whose
    filter normalization takes the place of their scaling by the weights. The surface is
    interpolated bilinearly.

    Args:
        alpha: shape (nx,). beta: shape (ny,); one value for a line.
        values: shape (ny, nx).

    Returns: None where the grid does not hold the box, or a value in it is not finite.
    """
    axes = (alpha, beta)
    if not all(axis.size == 1 or _holds(axis, epsilon) for axis in axes):
        return None
    highest = _interpolated(axes, values, [_corners(axis, epsilon) for axis in axes]).max()
    theta = _interpolated(axes, values, [_corners(axis, 0.0) for axis in axes]).max()
    found = float(100 * (highest - theta) / (1 + theta))
    return found if np.isfinite(found) else None


def _holds(axis: Floats, epsilon: float) -> bool:
    return bool(axis[0] <= -epsilon and epsilon <= axis[-1])


def _corners(axis: Floats, epsilon: float) -> Floats:
    """Where a bilinear surface can have its maximum over the box: its ends, and grid points."""
    if axis.size == 1:
        return axis
    return np.array([-epsilon, *axis[np.abs(axis) < epsilon], epsilon])


def _interpolated(axes: tuple[Floats, Floats], values: Floats, at: list[Floats]) -> Floats:
    """The surface at the product of coordinates, shape (beta, alpha)."""
    rows = np.array([np.interp(at[0], axes[0], row) for row in values])
    return np.array([np.interp(at[1], axes[1], column) for column in rows.T]).T

"""How a surface is curved and how straight it goes down, point by point of the grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def convexity(values: Floats) -> float | None:
    """Share of a surface's area in which both of its principal curvatures are positive.

    By central differences, at the points inside the grid all of whose neighbours are finite; along
    a line, where its second difference is positive. Signs of curvatures depend neither on the axes'
    steps nor on whether the plane's directions are orthogonal.

    Args:
        values: shape (ny, nx).

    Returns: None where there is no such point.
    """
    with np.errstate(invalid="ignore"):
        if min(values.shape) == 1:
            bend = np.diff(values.ravel(), 2)
            convex, known = bend > 0, np.isfinite(bend)
        else:
            along_beta = np.diff(values, 2, axis=0)[:, 1:-1]
            along_alpha = np.diff(values, 2, axis=1)[1:-1]
            twist = (values[2:, 2:] - values[2:, :-2] - values[:-2, 2:] + values[:-2, :-2]) / 4
            determinant = along_alpha * along_beta - twist**2
            convex = (along_alpha > 0) & (determinant > 0)
            known = np.isfinite(determinant)
    return float(convex[known].mean()) if known.any() else None


def roughness(values: Floats) -> float | None:
    """Share of the total variation along grid lines that is neither descent nor ascent.

    Along each row and column, a line that goes down to its minimum and up from there has a total
    variation of |first - minimum| + |last - minimum|; what it has beyond that is ripples. 0 where
    all lines are unimodal, towards 1 where ripples are all there is. It takes no unit, and no finer
    grid changes it unless that finds ripples.

    Args:
        values: shape (ny, nx). Lines with a value that is not finite are left out.

    Returns: None where no line is whole, or none varies.
    """
    total = direct = 0.0
    for lines in (values, values.T):
        whole = lines[np.isfinite(lines).all(axis=1)]
        if whole.shape[1] > 1 and whole.size:
            total += float(np.abs(np.diff(whole, axis=1)).sum())
            direct += float((whole[:, 0] + whole[:, -1] - 2 * whole.min(axis=1)).sum())
    return max(0.0, 1 - direct / total) if total > 0 else None

"""Which points of a grid are drawn, where it has too many or is not complete."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import PENDING
from lossgrid.lattice import lattice, strides

_FEWEST = 5


def drawn_lattice(
    status: NDArray[np.uint8], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns to draw: the finest lattice without pending points, about `most` an axis.

    A run computes lattice by lattice, coarse to fine, so that an unfinished one has a whole, if
    coarser, picture. Where no lattice of five points an axis is complete, all points are drawn,
    with the pending ones blank.

    Args:
        status: of the points, shape (ny, nx).
        most: points of the longer axis, but for the last one, which is always drawn.
    """
    ny, nx = status.shape
    thin = 1
    while max(ny, nx) > thin * most:
        thin *= 2
    for stride in sorted({thin, *strides(ny, nx)}):
        rows, columns = lattice(ny, stride), lattice(nx, stride)
        if stride > 1 and min(rows.size, columns.size) < _FEWEST:
            break
        if stride >= thin and (status[np.ix_(rows, columns)] != PENDING).all():
            return rows, columns
    return lattice(ny, thin), lattice(nx, thin)

"""The order in which grid points are computed: coarse to fine, without a list of points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

COARSEST_POINTS = 8
"""The coarsest lattice has about this many points along the longer axis."""


def lattice(points: int, stride: int) -> NDArray[np.int64]:
    """Indices of every `stride`-th point of an axis; the last index always belongs.

    Returns: int64, shape (ceil((points - 1) / stride) + 1,), ascending.
    """
    indices = np.arange(0, points, stride, dtype=np.int64)
    if indices[-1] != points - 1:
        indices = np.append(indices, points - 1)
    return indices


def strides(ny: int, nx: int) -> list[int]:
    """Lattice spacings from the coarsest, a power of two, down to 1."""
    coarsest = 1
    while max(ny, nx) > 2 * coarsest * COARSEST_POINTS:
        coarsest *= 2
    return [coarsest >> level for level in range(coarsest.bit_length())]


def coarse_to_fine(ny: int, nx: int) -> Iterator[NDArray[np.int64]]:
    """Yield every point of a grid once, lattice by lattice, a row at a time.

    Points are flat, row-major indices `iy * nx + ix` (row = beta, column = alpha). Memory is that
    of one row, so a grid of 10^8 points costs nothing to begin.

    Yields: int64 arrays of at most nx points.
    """
    coarser_rows: set[int] = set()
    coarser_columns = np.empty(0, np.int64)
    for stride in strides(ny, nx):
        rows, columns = lattice(ny, stride), lattice(nx, stride)
        new_columns = np.setdiff1d(columns, coarser_columns, assume_unique=True)
        for row in rows.tolist():
            wanted = new_columns if row in coarser_rows else columns
            if wanted.size:
                yield row * nx + wanted
        coarser_rows, coarser_columns = set(rows.tolist()), columns

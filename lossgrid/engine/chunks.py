"""Which points are still to be handed out."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.order import coarse_to_fine

Points = NDArray[np.int64]
"""Flat, row-major indices of grid points, shape (n,)."""


class ChunkQueue:
    """The points that nobody has been given yet, cut into chunks on demand.

    Args:
        shape: (ny, nx) of the grid; a line is (1, nx).
        pending: bool, shape (ny * nx,): what is to be computed. Read, never written or copied.
    """

    def __init__(self, shape: tuple[int, int], pending: NDArray[np.bool_]) -> None:
        self._pending = pending
        self._rows = coarse_to_fine(*shape)
        self._cut: deque[Points] = deque()
        self.remaining = int(np.count_nonzero(pending))

    def take(self, count: int) -> Points:
        """The next points, at most `count`; none at all when nothing is left."""
        taken: list[Points] = []
        missing = min(count, self.remaining)
        self.remaining -= missing
        while missing:
            if not self._cut:
                row = next(self._rows)
                self._cut.append(row[self._pending[row]])
            points = self._cut.popleft()
            if points.size > missing:
                self._cut.appendleft(points[missing:])
                points = points[:missing]
            taken.append(points)
            missing -= points.size
        return np.concatenate(taken) if taken else np.empty(0, np.int64)

"""Which points are still to be handed out."""

from __future__ import annotations

from collections import deque

import numpy as np

from lossgrid.engine.pointset import Points, PointSet
from lossgrid.lattice import coarse_to_fine


class ChunkQueue:
    """The points that nobody has in hand, cut into chunks on demand.

    Args:
        shape: (ny, nx) of the grid; a line is (1, nx).
        pending: what is to be computed.
    """

    def __init__(self, shape: tuple[int, int], pending: PointSet) -> None:
        self._pending = pending
        self._rows = coarse_to_fine(*shape)
        self._cut: deque[Points] = deque()
        self.grid_points = shape[0] * shape[1]
        self.remaining = len(pending)

    def put_back(self, points: Points) -> None:
        """Hand these out again, before all others."""
        if points.size:
            self._cut.appendleft(points)
            self.remaining += points.size

    def take(self, count: int) -> Points:
        """The next points, at most `count`; none at all when nothing is left."""
        taken: list[Points] = []
        missing = min(count, self.remaining)
        self.remaining -= missing
        while missing:
            if not self._cut:
                self._cut.append(self._pending.among(next(self._rows)))
            points = self._cut.popleft()
            if points.size > missing:
                self._cut.appendleft(points[missing:])
                points = points[:missing]
            taken.append(points)
            missing -= points.size
        return np.concatenate(taken) if taken else np.empty(0, np.int64)

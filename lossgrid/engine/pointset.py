"""A set of grid points that stays small on a huge grid."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.int64]
"""Flat, row-major indices of grid points, shape (n,)."""


class PointSet:
    """Some of a grid's points, one bit each: 12.5 MB for a grid of 10^8.

    Args:
        masks: whether each point belongs, for consecutive runs of points: bool arrays whose sizes
            are multiples of 8, except for the last.
    """

    def __init__(self, masks: Iterable[NDArray[np.bool_]]) -> None:
        self._count = 0
        packed = []
        for mask in masks:
            self._count += int(np.count_nonzero(mask))
            packed.append(np.packbits(mask, bitorder="little"))
        self._bits = np.concatenate(packed)

    @classmethod
    def of(cls, points: Points, total: int) -> PointSet:
        """Some points of a grid that has `total`."""
        mask = np.zeros(total, bool)
        mask[points] = True
        return cls([mask])

    def __len__(self) -> int:
        return self._count

    def among(self, points: Points) -> Points:
        """Those of some points that belong, in their order."""
        belonging: Points = points[self._bits[points >> 3] >> (points & 7).astype(np.uint8) & 1 > 0]
        return belonging

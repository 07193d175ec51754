"""Which points a run computes before which others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lossgrid.engine.pointset import PointSet
from lossgrid.lattice import level_rows, strides


class Stage(NamedTuple):
    """Points to compute, all of one lattice if the run goes lattice by lattice."""

    points: PointSet
    level: int = 0


def by_lattice(
    shape: tuple[int, int], pending: PointSet, is_known: Callable[[int], bool] | None = None
) -> list[Stage]:
    """The pending points, lattice by lattice, since the finer ones build upon the coarser.

    Args:
        shape: (ny, nx) of the grid.
        pending: what is to be computed.
        is_known: whether what finer lattices need of a point is there, if that is more than its
            status. Where it is not, although the point is done, it is computed again.

    Returns: a stage for each lattice of which something is to be computed, coarsest first.
    """
    stages: list[Stage] = []
    for level in reversed(range(len(strides(*shape)))):
        points = np.concatenate(list(level_rows(*shape, level)))
        wanted = pending.among(points)
        if stages and is_known is not None:
            done = np.setdiff1d(points, wanted, assume_unique=True)
            lost = [point for point in done.tolist() if not is_known(point)]
            wanted = np.append(wanted, np.array(lost, np.int64))
        if wanted.size:
            stages.insert(0, Stage(PointSet.of(wanted, shape[0] * shape[1]), level))
    return stages

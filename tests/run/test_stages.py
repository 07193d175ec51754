from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.engine.pointset import PointSet
from lossgrid.lattice import level_of, strides
from lossgrid.run.stages import by_lattice

SHAPE = (20, 33)
LEVELS = np.array([level_of(*SHAPE, point) for point in range(20 * 33)])


def stages(pending: set[int], unknown: set[int]) -> list[set[int]]:
    mask = np.isin(np.arange(LEVELS.size), list(pending))
    everything = np.arange(LEVELS.size)
    found = by_lattice(SHAPE, PointSet([mask]), lambda point: point not in unknown)
    return [set(stage.points.among(everything).tolist()) for stage in found]


def test_a_fresh_grid_is_computed_lattice_by_lattice() -> None:
    found = stages(set(range(LEVELS.size)), set())
    assert len(found) == len(strides(*SHAPE))
    for level, points in enumerate(found):
        assert points == set(np.flatnonzero(level == LEVELS).tolist())


def test_nothing_pending_is_no_stage() -> None:
    assert stages(set(), set(range(LEVELS.size))) == []


POINTS = st.sets(st.integers(0, LEVELS.size - 1))


@given(pending=POINTS, unknown=POINTS)
def test_lost_parents_are_computed_again_and_nothing_else(
    pending: set[int], unknown: set[int]
) -> None:
    found = stages(pending, unknown)
    finest = max((LEVELS[point] for point in pending), default=-1)
    lost = {point for point in unknown if LEVELS[point] < finest}
    assert set().union(*found) == pending | lost
    levels = [{int(LEVELS[point]) for point in stage} for stage in found]
    assert all(len(one) == 1 for one in levels)
    assert [max(one) for one in levels] == sorted({level for one in levels for level in one})

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.engine.pointset import PointSet


@given(
    mask=st.lists(st.booleans(), min_size=1, max_size=100),
    part=st.sampled_from([8, 16, 64, 800]),
    data=st.data(),
)
def test_a_set_keeps_its_points(mask: list[bool], part: int, data: st.DataObject) -> None:
    whole = np.array(mask)
    kept = PointSet(whole[begin : begin + part] for begin in range(0, whole.size, part))
    assert len(kept) == sum(mask)
    asked = data.draw(st.lists(st.integers(0, len(mask) - 1), max_size=30))
    found = kept.among(np.array(asked, np.int64))
    assert found.tolist() == [point for point in asked if mask[point]]


@given(points=st.sets(st.integers(0, 99)))
def test_a_set_of_some_points(points: set[int]) -> None:
    found = PointSet.of(np.array(sorted(points), np.int64), 100)
    assert len(found) == len(points)
    assert set(found.among(np.arange(100)).tolist()) == points


def test_a_bit_each() -> None:
    assert PointSet([np.ones(800, bool)])._bits.nbytes == 100

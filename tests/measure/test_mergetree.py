from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy.ndimage import label

from lossgrid.measure.mergetree import merge_tree

HEIGHTS = st.one_of(st.integers(0, 9).map(float), st.just(np.nan))
SURFACES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=HEIGHTS)


def deaths(values: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(one.value, one.value + one.persistence) for one in merge_tree(values)]


@given(SURFACES)
def test_as_many_components_at_each_level_as_scipy_finds(values: NDArray[np.float64]) -> None:
    pairs = deaths(values)
    for level in np.unique(values[np.isfinite(values)]):
        _, count = label(np.nan_to_num(values, nan=np.inf) <= level)
        assert sum(birth <= level < death for birth, death in pairs) == count


@given(SURFACES)
def test_each_joins_a_lower_one_at_its_saddle(values: NDArray[np.float64]) -> None:
    tree = {one.point: one for one in merge_tree(values)}
    for one in tree.values():
        if one.into is not None and one.saddle is not None:
            assert (tree[one.into].value, one.into) < (one.value, one.point)
            assert values.flat[one.saddle] == one.value + one.persistence
            below = np.nan_to_num(values, nan=np.inf) <= values.flat[one.saddle]
            regions, _ = label(below)
            assert regions.flat[one.point] == regions.flat[one.into]


def test_two_wells_and_the_pass_between_them() -> None:
    values = np.array([[9.0, 9, 9, 9, 9], [9, 1, 4, 2, 9], [9, 9, 9, 9, 9]])
    low, high = merge_tree(values)
    assert (low.point, low.value, low.into) == (6, 1.0, None)
    assert (high.point, high.saddle, high.into, high.persistence) == (8, 7, 6, 2.0)


def test_a_surface_without_a_value_has_no_minimum() -> None:
    assert merge_tree(np.full((3, 4), np.nan)) == []
    assert [one.value for one in merge_tree(np.array([[np.inf, 2.0, np.nan]]))] == [2.0]

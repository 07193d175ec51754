"""Reading and writing scattered points of a dataset; plain indexing as the reference."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lossgrid.store.selection import STRETCHES, selections

COUNT = 37 * 41


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.0, 0.001, 0.05, 0.5, 0.97, 1.0]),
    shape=st.sampled_from([(37, 41), (COUNT,), (1, COUNT), (COUNT, 1)]),
    near=st.sampled_from([1, 2, 32]),
)
def test_points_are_stored_and_nothing_else(
    tmp_path: Path, seed: int, share: float, shape: tuple[int, ...], near: int
) -> None:
    generator = np.random.default_rng(seed)
    points = np.flatnonzero(generator.random(COUNT) < share)
    expected = generator.random(COUNT)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        dataset = file.create_dataset("d", data=expected.reshape(shape))
        for part, select in selections(shape, points, near):
            assert np.array_equal(select.get(dataset.id), expected[points[part]])
            select.put(dataset.id, -1.0 - points[part])
        expected[points] = -1.0 - points
        assert np.array_equal(dataset[...].ravel(), expected)


@pytest.mark.parametrize(("near", "stretches"), [(1, 1 + 20), (3, 1 + 1), (32, 1)])
def test_near_points_are_in_one_stretch(near: int, stretches: int) -> None:
    points = np.concatenate([np.arange(30), 50 + 3 * np.arange(20)])
    ((part, select),) = selections((200,), points, near)
    assert points[part].size == points.size
    assert select.file.get_select_hyper_nblocks() == stretches
    assert select.is_full == (near == 1)


def test_rows_are_not_joined() -> None:
    ((_, select),) = selections((3, 10), np.arange(5, 25))
    assert select.size == 20
    assert select.is_full


def test_many_stretches_are_taken_in_turns() -> None:
    points = np.arange(0, 100 * 1000, 100)
    parts = list(selections((100 * 1000,), points))
    assert len(parts) == -(-1000 // STRETCHES)
    assert np.array_equal(np.concatenate([points[part] for part, _ in parts]), points)

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.engine.order import coarse_to_fine, lattice, strides

SIZE = st.integers(1, 70)


@given(points=SIZE, stride=st.integers(1, 80))
def test_a_lattice_holds_both_ends(points: int, stride: int) -> None:
    found = lattice(points, stride)
    assert found[0] == 0
    assert found[-1] == points - 1
    assert (np.diff(found) <= stride).all()
    assert (np.diff(found) > 0).all()


@given(ny=SIZE, nx=SIZE)
def test_every_point_comes_once(ny: int, nx: int) -> None:
    found = np.concatenate(list(coarse_to_fine(ny, nx)))
    assert np.array_equal(np.sort(found), np.arange(ny * nx))


@given(ny=SIZE, nx=SIZE)
def test_coarser_lattices_come_first(ny: int, nx: int) -> None:
    order = np.concatenate(list(coarse_to_fine(ny, nx)))
    done = 0
    for stride in strides(ny, nx):
        rows, columns = lattice(ny, stride), lattice(nx, stride)
        done = rows.size * columns.size
        wanted = (rows[:, None] * nx + columns).ravel()
        assert set(order[:done].tolist()) == set(wanted.tolist())
    assert done == ny * nx


@pytest.mark.parametrize(("size", "coarsest"), [((1, 1), 1), ((5, 9), 1), ((51, 51), 4)])
def test_the_coarsest_lattice_is_a_small_picture(size: tuple[int, int], coarsest: int) -> None:
    assert strides(*size)[0] == coarsest
    assert strides(*size)[-1] == 1


def test_a_huge_grid_costs_nothing_to_begin() -> None:
    tracemalloc.start()
    rows = coarse_to_fine(100_000, 100_000)
    first = [next(rows) for _ in range(10)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first[0][0] == 0
    assert peak < 30e6

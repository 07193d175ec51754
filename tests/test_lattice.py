from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lossgrid.lattice import (
    coarse_to_fine,
    lattice,
    level_of,
    level_rows,
    parent_index,
    predictors,
    stencils,
    strides,
)

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


@pytest.mark.parametrize(("size", "coarsest"), [((1, 1), 1), ((5, 9), 2), ((51, 51), 8)])
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


@given(ny=SIZE, nx=SIZE)
def test_levels_are_lattices_without_the_coarser_ones(ny: int, nx: int) -> None:
    for level, _ in enumerate(strides(ny, nx)):
        for row in level_rows(ny, nx, level):
            assert {level_of(ny, nx, point) for point in row.tolist()} == {level}


@given(ny=SIZE, nx=SIZE, data=st.data())
def test_points_are_predicted_by_coarser_lattices(ny: int, nx: int, data: st.DataObject) -> None:
    point = data.draw(st.integers(0, ny * nx - 1))
    level = level_of(ny, nx, point)
    found = list(predictors(ny, nx, point))
    assert len(found) == 2 * level  # cubic and linear from each of them
    for number, (points, weights) in enumerate(found):
        coarser = level - 1 - number // 2
        assert all(level_of(ny, nx, parent) <= coarser for parent in points.tolist())
        assert weights.sum() == pytest.approx(1)
        # a polynomial of one degree less than an axis has nodes, at most 3 or 1, is exact
        stride = strides(ny, nx)[coarser]
        most = 1 if number % 2 else 3
        rows, columns = (min(lattice(size, stride).size - 1, most) for size in (ny, nx))

        def surface(
            index: NDArray[np.int64], rows: int = rows, columns: int = columns
        ) -> NDArray[np.float64]:
            y, x = np.divmod(index, nx)
            return (0.2 + y / ny) ** rows * (x / nx - 0.7) ** columns  # type: ignore[no-any-return]

        assert surface(points) @ weights == pytest.approx(surface(np.array(point)), abs=1e-9)


@given(ny=SIZE, nx=SIZE)
def test_every_parent_has_a_number_of_its_own(ny: int, nx: int) -> None:
    last = len(strides(ny, nx)) - 1
    coarser = [p for p in range(ny * nx) if level_of(ny, nx, p) < last]
    numbers = [parent_index(ny, nx, point) for point in coarser]
    assert None not in numbers
    assert len(set(numbers)) == len(numbers)
    assert all(number < (ny // 2 + 1) * (nx // 2 + 1) for number in numbers if number is not None)
    finest = set(range(ny * nx)) - set(coarser)
    assert all(parent_index(ny, nx, point) is None for point in finest)


@given(points=st.integers(5, 70), level=st.integers(1, 4))
def test_stencils_are_those_of_cubic_predictions(points: int, level: int) -> None:
    spacings = strides(1, points)
    level = min(level, len(spacings) - 1)
    if level == 0:
        return
    numbers, weights = stencils(points, spacings[level - 1], spacings[level])
    nodes = lattice(points, spacings[level - 1])
    for row, index in enumerate(lattice(points, spacings[level]).tolist()):
        if level_of(1, points, index) == level:
            cubic = next(predictors(1, points, index))
            expected = dict(zip(*(part.tolist() for part in cubic), strict=True))
            pairs = zip(nodes[numbers[row]].tolist(), weights[row].tolist(), strict=True)
            assert {node: weight for node, weight in pairs if weight} == expected
        else:
            assert nodes[numbers[row]] @ weights[row] == index

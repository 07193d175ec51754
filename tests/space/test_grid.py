from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.job import AxisSpec
from lossgrid.space.grid import Grid, coordinates

BOUND = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))


@given(low=BOUND, width=st.floats(0.001, 1e3), points=st.integers(2, 200))
def test_ends_are_exact_and_steps_even(low: float, width: float, points: int) -> None:
    axis = AxisSpec(min=low, max=low + width, points=points)
    found = coordinates(axis)
    assert found[0] == axis.min
    assert found[-1] == axis.max
    np.testing.assert_allclose(found, np.linspace(axis.min, axis.max, points), atol=1e-9)


@given(bound=st.floats(1e-3, 1e3), half=st.integers(1, 100))
def test_a_symmetric_axis_holds_an_exact_zero(bound: float, half: int) -> None:
    found = coordinates(AxisSpec(min=-bound, max=bound, points=2 * half + 1))
    assert found[half] == 0.0
    assert np.array_equal(found, -found[::-1])


def test_rows_are_beta_and_columns_alpha() -> None:
    grid = Grid(np.array([0.0, 1.0, 2.0]), np.array([10.0, 20.0]))
    assert grid.shape == (2, 3)
    assert grid.at(1) == (1.0, 10.0)
    assert grid.at(5) == (2.0, 20.0)


def test_a_line_stays_at_beta_zero() -> None:
    grid = Grid(np.array([0.5, 1.5]), None)
    assert grid.shape == (1, 2)
    assert grid.at(1) == (1.5, 0.0)


def test_several_lines_share_the_points_of_one() -> None:
    lines = Grid(np.array([0.5, 1.5]), None, draws=3)
    assert lines.shape == (1, 2)
    assert lines.places(1) == [(1.5,), (0.0, 1.5), (0.0, 0.0, 1.5)]
    assert Grid(np.array([0.5, 1.5]), np.array([2.0])).places(1) == [(1.5, 2.0)]

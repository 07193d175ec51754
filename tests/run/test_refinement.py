from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lossgrid.evaluate.estimate import OFFSET
from lossgrid.lattice import level_of, strides
from lossgrid.run.refinement import Refinement

SHAPE = (25, 33)
LEVELS = np.array([level_of(*SHAPE, point) for point in range(25 * 33)])
AXES = [np.linspace(-1, 1, points) for points in SHAPE]
Y, X = (axis.ravel() for axis in np.meshgrid(*AXES, indexing="ij"))
ROUGH = np.random.default_rng(0).uniform(1, 2, size=X.size)
Values = NDArray[np.float64]


def refined(truth: Values, tolerance: float) -> tuple[Values, NDArray[np.bool_]]:
    """All lattices in turn, as a run does it; values, and which points were computed."""
    values = np.full_like(truth, np.nan)
    computed = np.zeros(truth.shape[1], bool)
    refinement = Refinement(SHAPE, tolerance)
    for level in range(len(strides(*SHAPE))):
        points, found = refinement.interpolated(level, values, computed)
        assert (LEVELS[points] == level).all()
        values[:, points] = found
        rest = np.setdiff1d(np.flatnonzero(level == LEVELS), points)
        values[:, rest] = truth[:, rest]
        computed[rest] = True
    return values, computed


@settings(max_examples=20, deadline=None)
@given(width=st.floats(0.7, 3), x=st.floats(-1, 1), tolerance=st.floats(1e-3, 0.1))
def test_what_is_interpolated_is_as_good_as_said(width: float, x: float, tolerance: float) -> None:
    # Wide enough for the first lattices, of steps of 1/2 and 1/4, to see the bump.
    truth = np.stack([1 + (X - x) ** 2 / width, np.exp(-((X - x) ** 2 + Y**2) / width**2)])
    values, computed = refined(truth, tolerance)
    assert (np.abs(values - truth) <= tolerance * (np.abs(truth) + OFFSET)).all()
    assert (values[:, computed] == truth[:, computed]).all()
    assert computed[LEVELS < 2].all()


def test_smooth_parts_are_interpolated_and_rough_ones_computed() -> None:
    wall = np.where(X > 0.5, ROUGH, 1)
    values, computed = refined(wall[None], 0.01)
    fine = LEVELS >= 2
    assert not computed[fine & (X < -0.5)].any()
    assert computed[fine & (X > 0.6)].mean() > 0.9
    assert np.abs(values - wall)[0, X < -0.5].max() < 1e-9


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nothing_is_interpolated_from_values_that_are_not_finite(bad: float) -> None:
    truth = np.ones((1, X.size))
    hole = int(np.flatnonzero(LEVELS == 1)[20])
    truth[0, hole] = bad
    values, computed = refined(truth, 0.1)
    assert np.isfinite(values[0, ~computed]).all()
    near = (np.abs(X - X[hole]) < 0.13) & (np.abs(Y - Y[hole]) < 0.13) & (LEVELS == 2)
    assert computed[near].all()


def test_every_column_counts() -> None:
    smooth = np.ones_like(X)
    assert refined(np.stack([smooth, ROUGH]), 0.01)[1].mean() > 0.9
    assert refined(np.stack([smooth, smooth]), 0.01)[1].mean() < 0.5


@settings(max_examples=30, deadline=None)
@given(ny=st.integers(1, 70), nx=st.integers(1, 70), seed=st.integers(0, 99))
def test_any_shape_of_grid(ny: int, nx: int, seed: int) -> None:
    """Constants are interpolated from the third lattice on, noise never is."""
    levels = np.array([level_of(ny, nx, point) for point in range(ny * nx)])
    constant = np.ones((1, ny * nx))
    noise = np.random.default_rng(seed).uniform(1, 2, size=(1, ny * nx))
    for level in range(len(strides(ny, nx))):
        points, found = Refinement((ny, nx), 1e-6).interpolated(level, constant, levels < level)
        assert set(levels[points].tolist()) <= {level}
        assert level >= 2 or points.size == 0
        assert found == pytest.approx(constant[:, points])
        points, _ = Refinement((ny, nx), 1e-6).interpolated(level, noise, levels < level)
        assert points.size == 0

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from lossgrid.measure.sharpness import sharpness

ALPHA, BETA = np.linspace(-1, 1.5, 11), np.linspace(-0.5, 0.75, 8)


@given(st.integers(0, 99), st.floats(0.01, 0.5))
def test_the_highest_of_a_dense_sample_of_the_box(seed: int, epsilon: float) -> None:
    values = np.random.default_rng(seed).uniform(0, 5, (8, 11))
    surface = RegularGridInterpolator((BETA, ALPHA), values)
    axis = np.linspace(-epsilon, epsilon, 201)
    highest = surface(tuple(np.meshgrid(axis, axis))).max()
    theta = surface((0.0, 0.0))
    expected = 100 * (highest - theta) / (1 + theta)
    found = sharpness(ALPHA, BETA, values, epsilon)
    assert found is not None
    assert expected - 1e-9 <= found <= expected + 100 * 5 * 4 * 0.01 * epsilon / 0.1


def test_a_line() -> None:
    assert sharpness(ALPHA, np.zeros(1), np.abs(ALPHA)[None], 0.25) == pytest.approx(
        100 * (0.25 - 0) / (1 + 0)
    )


def test_none_where_the_box_is_not_known() -> None:
    values = np.ones((8, 11))
    assert sharpness(ALPHA, BETA, values, 0.5) == 0
    assert sharpness(ALPHA, BETA, values, 0.6) is None
    values[3, 4] = np.nan
    assert sharpness(ALPHA, BETA, values, 0.5) is None

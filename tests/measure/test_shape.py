from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.measure.shape import convexity, roughness

A, B = np.meshgrid(np.linspace(-1, 1, 31), np.linspace(-2, 1, 41))
CURVATURE = st.floats(-3, 3).filter(lambda x: abs(x) > 0.1)


@given(CURVATURE, CURVATURE, st.floats(-3, 3))
def test_a_quadratic_is_convex_if_its_hessian_is_positive(p: float, q: float, r: float) -> None:
    eigenvalues = np.linalg.eigvalsh([[2 * p, r], [r, 2 * q]])
    if abs(eigenvalues[0]) > 1e-6:
        expected = float(eigenvalues[0] > 0)
        assert convexity(p * A**2 + q * B**2 + r * A * B + A) == expected


def test_convexity_is_a_share_of_what_is_known() -> None:
    half = np.where(A < 0, A**2 + B**2, A**2 - B**2)
    # 14 of 29 inner columns, but the last of them next to where the other half begins.
    assert convexity(half) == pytest.approx(13 / 29, abs=0.002)
    half[:, A[0] >= 0] = np.nan
    assert convexity(half) == 1.0
    assert convexity(np.full((3, 3), np.nan)) is None


def test_convexity_of_a_line() -> None:
    x = np.linspace(-np.pi, np.pi, 1001)
    assert convexity(-np.cos(x)[None]) == pytest.approx(0.5, abs=0.002)
    assert convexity(np.ones((1, 2))) is None


def test_roughness_is_what_is_neither_descent_nor_ascent() -> None:
    assert roughness(np.array([[0.0, 1.0, 0.0, 1.0]])) == pytest.approx(2 / 3)
    assert roughness(np.array([[3.0, 1.0, 2.0]])) == 0
    assert roughness(A**2 + B**2) == pytest.approx(0, abs=1e-12)
    assert roughness(np.ones((3, 3))) is None


def test_a_finer_grid_has_the_same_roughness() -> None:
    def waves(count: int) -> float | None:
        a, b = np.meshgrid(*2 * [np.linspace(-1, 1, count)])
        return roughness(a**2 + b**2 + 0.1 * np.cos(20 * a) * np.cos(20 * b))

    assert waves(101) == pytest.approx(waves(801), rel=0.03)


def test_lines_with_a_missing_point_are_left_out_of_roughness() -> None:
    values = A**2 + B**2
    values[3, 4] = np.nan
    assert roughness(values) == pytest.approx(0, abs=1e-12)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.measure.basin import Basin, basin

ALPHA, BETA = np.linspace(-1, 2, 121), np.linspace(-1, 1, 81)
A, B = np.meshgrid(ALPHA, BETA)


def found(values: np.ndarray, level: float) -> Basin:
    region = basin(ALPHA, BETA, values, level)
    assert region is not None
    return region


@given(st.floats(-0.1, 0.8), st.floats(-0.2, 0.2), st.floats(0.2, 0.7))
def test_an_ellipse(x: float, y: float, radius: float) -> None:
    region = found((A - x) ** 2 + ((B - y) / 0.8) ** 2, radius**2)
    assert region.closed
    assert region.area == pytest.approx(0.8 * np.pi * radius**2, rel=0.02)
    assert region.width_alpha == pytest.approx(2 * radius, rel=0.02)
    assert region.width_beta == pytest.approx(1.6 * radius, rel=0.02)
    # The minimum of the grid is up to half a step from that of the ellipse.
    assert region.radius == pytest.approx(0.8 * radius, abs=0.02)


def test_a_plane_is_exact() -> None:
    region = found(A, 0.5)
    assert region == Basin(3.0, 1.5, 2.0, closed=False, radius=1.5)


def test_an_island_above_the_level_is_left_out() -> None:
    distance = np.hypot(A, B)
    ring = np.abs(distance - 0.5) + 1e-3 * (A + B)
    region = found(ring, 0.1)
    assert region.area == pytest.approx(np.pi * (0.6**2 - 0.4**2), rel=0.02)
    assert region.radius == pytest.approx(0.1, abs=0.01)


def test_only_the_region_of_the_minimum_counts() -> None:
    wells = np.minimum(np.hypot(A, B), 0.1 + np.hypot(A - 1.5, B))
    assert found(wells, 0.4).area == pytest.approx(np.pi * 0.4**2, rel=0.02)
    assert found(wells, 0.4).width_alpha == pytest.approx(0.8, rel=0.02)


def test_a_moat_around_the_minimum_is_another_region() -> None:
    distance = np.hypot(A, B)
    region = found(np.interp(distance, [0, 0.4, 0.6, 0.8, 3], [0, 1, 0.05, 1, 2]), 0.5)
    assert region.area == pytest.approx(np.pi * 0.2**2, rel=0.05)
    assert region.width_alpha == pytest.approx(0.4, rel=0.02)


def test_a_region_that_meets_missing_points_is_open() -> None:
    values = np.hypot(A, B)
    assert found(values, 0.5).closed
    values[np.abs(A - 0.3) < 0.02] = np.nan
    assert not found(values, 0.5).closed


def test_a_region_without_an_end() -> None:
    assert found(A, 5.0) == Basin(6.0, 3.0, 2.0, closed=False, radius=None)


def test_a_level_below_the_minimum_has_no_region() -> None:
    assert basin(ALPHA, BETA, 1 + A**2, 0.5) is None

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lossgrid.view.light import openness

AXIS = np.linspace(-1, 1, 41)


def test_nothing_hides_the_sky_from_a_plane_or_a_hill() -> None:
    np.testing.assert_array_equal(openness(AXIS, AXIS, np.full((41, 41), 3.0)), 1)
    hill = -(AXIS**2 + AXIS[:, None] ** 2)
    assert openness(AXIS, AXIS, hill)[20, 20] == 1


@pytest.mark.parametrize("slope", [0.5, 1.0, 3.0])
def test_the_bottom_of_a_cone(slope: float) -> None:
    """The horizon is at the cone's angle all around: cos(atan(slope))^2."""
    cone = slope * np.hypot(AXIS, AXIS[:, None])
    assert openness(AXIS, AXIS, cone)[20, 20] == pytest.approx(1 / (1 + slope**2), rel=1e-9)


def test_a_wall_hides_half_of_the_sky_from_those_at_its_foot() -> None:
    wall = np.zeros((41, 41))
    wall[:, 30:] = 1e6
    light = openness(AXIS, AXIS, wall)
    assert light[20, 29] == pytest.approx(0.5, abs=0.05)
    assert (light[:, 30:] == 1).all()
    assert light[20, 0] == 1  # farther than it looks


def test_distances_are_those_of_the_axes() -> None:
    """The same pit with twice as many columns, unevenly spaced."""
    uneven = np.sort(np.append(AXIS, AXIS[:-1] + 0.01))
    pit = np.hypot(AXIS, AXIS[:, None])
    finer = np.hypot(uneven, AXIS[:, None])
    even = openness(AXIS, AXIS, pit)[20, 20]
    assert openness(uneven, AXIS, finer)[20, 40] == pytest.approx(even, rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(st.integers(2, 9), st.integers(2, 9)).flatmap(
        lambda shape: hnp.arrays(
            np.float64, shape, elements=st.floats(-1e3, 1e3) | st.just(float("nan"))
        )
    )
)
def test_shares_are_shares_and_holes_hide_nothing(heights: np.ndarray) -> None:
    y, x = (np.arange(float(size)) for size in heights.shape)
    light = openness(x, y, heights)
    assert ((light >= 0) & (light <= 1)).all()
    low = np.where(np.isnan(heights), -1e9, heights)
    there = ~np.isnan(heights)
    np.testing.assert_array_equal(light[there], openness(x, y, low)[there])

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.interpolate import CubicHermiteSpline

from lossgrid.view.smooth import smooth

SURFACES = st.tuples(st.integers(2, 7), st.integers(2, 7)).flatmap(
    lambda shape: hnp.arrays(
        np.float64, shape, elements=st.floats(-1e6, 1e6) | st.just(float("nan"))
    )
)
STEPS = st.integers(0, 2**32 - 1)


def axes(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ascending, unevenly spaced."""
    steps = np.random.default_rng(seed).uniform(0.1, 2, sum(values.shape))
    nx = values.shape[1]
    return np.cumsum(steps[:nx]), np.cumsum(steps[nx:])


@settings(deadline=None)
@given(SURFACES, STEPS, st.integers(0, 30))
def test_between_four_points_lie_values_between_theirs(
    values: np.ndarray, seed: int, points: int
) -> None:
    alpha, beta = axes(values, seed)
    fine_alpha, fine_beta, fine = smooth(alpha, beta, values, points)
    assert fine.shape == (fine_beta.size, fine_alpha.size)
    parts = [(f.size - 1) // (c.size - 1) for f, c in ((fine_beta, beta), (fine_alpha, alpha))]
    for coarse, finer, part in ((beta, fine_beta, parts[0]), (alpha, fine_alpha, parts[1])):
        assert min(points, coarse.size) <= finer.size <= max(2 * points, coarse.size)
        np.testing.assert_array_equal(finer[::part], coarse)
        assert (np.diff(finer) > 0).all()
    np.testing.assert_array_equal(fine[:: parts[0], :: parts[1]], values)
    for row in range(beta.size - 1):
        for column in range(alpha.size - 1):
            corners = values[row : row + 2, column : column + 2]
            rows = slice(row * parts[0] + 1, (row + 1) * parts[0])
            inside = fine[rows, column * parts[1] + 1 : (column + 1) * parts[1]]
            if np.isnan(corners).any():
                assert np.isnan(inside).all()
            else:
                assert ((inside >= corners.min()) & (inside <= corners.max())).all()


def test_where_nothing_is_limited_it_is_the_cubic_through_parabolas_slopes() -> None:
    places = np.array([0.0, 1.0, 1.5, 3.0, 4.0, 4.5])
    rises = np.exp(places / 2)
    slopes = np.gradient(rises, places)
    reference = CubicHermiteSpline(places, rises, slopes)
    _, fine_beta, fine = smooth(np.arange(2.0), places, np.stack([rises, rises], axis=1), 40)
    np.testing.assert_allclose(fine[:, 0], reference(fine_beta), rtol=1e-12)
    _, _, turned = smooth(places, np.arange(2.0), np.stack([rises, rises]), 40)
    np.testing.assert_allclose(turned[0], fine[:, 0], rtol=1e-15)


def test_a_parabola_s_flank_is_exact() -> None:
    places = np.linspace(1, 3, 6)
    _, fine, values = smooth(np.arange(2.0), places, np.stack([places**2] * 2, axis=1), 50)
    inner = (fine > places[1]) & (fine < places[-2])
    np.testing.assert_allclose(values[inner, 0], fine[inner] ** 2, rtol=1e-14)


def test_a_hole_stays_one_and_its_edge_too() -> None:
    values = np.ones((5, 5))
    values[2, 2] = np.nan
    fine = smooth(np.arange(5.0), np.arange(5.0), values, 41)[2]
    assert fine.shape == (45, 45)
    hole = np.isnan(fine)
    rows, columns = np.nonzero(hole)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 32, 12, 32)


@pytest.mark.parametrize("points", [0, 5])
def test_as_many_points_as_there_are(points: int) -> None:
    values = np.arange(25.0).reshape(5, 5)
    np.testing.assert_array_equal(smooth(np.arange(5.0), np.arange(5.0), values, points)[2], values)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.view.scale import number, scale_for

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_losses_over_magnitudes_are_logarithmic() -> None:
    losses = np.geomspace(1e-3, 1e2, 50)
    scale = scale_for(losses, fraction=False)
    assert scale.logarithmic
    assert (scale.low, scale.high) == pytest.approx((1e-3, 1e2))
    assert scale.line_levels() == [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]
    assert not scale_for(np.geomspace(1, 10, 50), fraction=False).logarithmic
    assert not scale_for(losses / 100, fraction=True).logarithmic
    assert not scale_for(np.append(losses, -1.0), fraction=False).logarithmic


def test_linear_levels_are_round() -> None:
    scale = scale_for(np.linspace(1.7, 6.2, 9), fraction=False)
    assert scale.line_levels() == [2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6]


def test_the_bottom_of_a_loss_has_a_level_of_its_own() -> None:
    scale = scale_for(np.array([0.03, 6.2]), fraction=False, logarithmic=False)
    assert scale.line_levels() == [0.1, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6]
    assert scale_for(np.array([-1.0, 6.2]), fraction=False).line_levels()[0] == 0
    assert scale_for(np.array([0.0, 1.1]), fraction=False).line_levels()[:2] == [0.1, 0.2]


@given(st.lists(st.floats(), max_size=20), st.lists(FINITE, min_size=1, max_size=20))
def test_of_the_wanted_levels_those_within_are_drawn(
    wanted: list[float], values: list[float]
) -> None:
    scale = scale_for(np.array(values), fraction=False)
    inside = {level for level in wanted if scale.low < level < scale.high}
    assert scale.line_levels(wanted) == ([] if scale.constant else sorted(inside))


def test_zeros_and_diverged_corners_do_not_flatten_the_rest() -> None:
    losses = np.concatenate([[0.0, 1e-250], np.geomspace(0.1, 100, 99), [1e250, np.inf, np.nan]])
    scale = scale_for(losses, fraction=False)
    assert scale.logarithmic
    assert scale.low == pytest.approx(np.sqrt(10) * 1e-8, rel=0.1)
    assert scale.high == pytest.approx(np.sqrt(10) * 1e8, rel=0.1)


def test_the_widest_range_has_levels() -> None:
    scale = scale_for(np.array([-1.7e308, 0.0, 1.7e308]), fraction=False)
    assert np.isfinite(scale.line_levels()).all()


@pytest.mark.parametrize("value", [0.0, 2.3, -1e-200, 1e299, 5e-324])
def test_constant_values_are_known_as_such(value: float) -> None:
    values = np.full(5, value)
    assert scale_for(values, fraction=False).constant
    values[2] += 1.0 + abs(value)
    assert not scale_for(values, fraction=False).constant


@given(st.lists(FINITE, min_size=1, max_size=20), st.booleans())
def test_levels_ascend_within_the_range(values: list[float], fraction: bool) -> None:
    scale = scale_for(np.array(values), fraction=fraction)
    lines = np.array(scale.line_levels())
    if scale.constant:
        assert lines.size == 0
        return
    assert (np.diff(lines) > 0).all()
    assert 0 < lines.size <= 3 * 14
    assert (lines > scale.low).all()
    assert (lines < scale.high).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (1234.56, "1235"),
        (1e-4, "$10^{-4}$"),
        (3e5, r"$3\times10^{5}$"),
        (-2.5e7, r"$-2.5\times10^{7}$"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_fractions_are_written_as_percentages() -> None:
    assert scale_for(np.array([0.1, 0.9265]), fraction=True).text(0.9265) == "92.65 %"
    assert scale_for(np.array([0.1, 0.9]), fraction=False).text(0.9) == "0.9"

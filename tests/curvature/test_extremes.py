from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lossgrid.curvature.extremes import extremes


def symmetric(size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return matrix + matrix.T


def start(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(99)
    return torch.randn(size, generator=generator, dtype=torch.float64)


@given(seed=st.integers(0, 1000), size=st.integers(1, 30))
def test_the_residual_bounds_the_error(seed: int, size: int) -> None:
    matrix = symmetric(size, seed)
    exact = torch.linalg.eigvalsh(matrix)
    found = extremes(lambda v: matrix @ v, start(size), 0.01, size)
    for value in (found.largest, found.smallest):
        reach = found.residual * abs(value) + 1e-9 * float(exact.abs().max())
        assert float((exact - value).abs().min()) <= reach
    assert found.residual <= 0.01 or found.iterations == size


@given(seed=st.integers(0, 1000), shift=st.floats(-10, 10))
def test_a_shift_of_the_operator_shifts_them(seed: int, shift: float) -> None:
    matrix = symmetric(12, seed)
    one = extremes(lambda v: matrix @ v, start(12), 1e-9, 12)
    other = extremes(lambda v: matrix @ v + shift * v, start(12), 1e-9, 12)
    assert other.largest == pytest.approx(one.largest + shift, abs=1e-6)
    assert other.smallest == pytest.approx(one.smallest + shift, abs=1e-6)


@given(seed=st.integers(0, 1000), factor=st.floats(1e-6, 1e6))
def test_a_factor_changes_neither_ratio_nor_work(seed: int, factor: float) -> None:
    matrix = symmetric(20, seed)
    one = extremes(lambda v: matrix @ v, start(20), 0.01, 15)
    other = extremes(lambda v: factor * (matrix @ v), start(20), 0.01, 15)
    assert other.largest == pytest.approx(one.largest * factor, rel=1e-9)
    assert other.ratio == pytest.approx(one.ratio, rel=1e-9)
    assert other.iterations == one.iterations


def test_a_small_end_is_not_lost_beside_a_large_one() -> None:
    """As near a minimum: a few large eigenvalues, many near 0, and one a little below."""
    diagonal = torch.cat([torch.tensor([100.0, 30.0, 10.0, -0.5]), torch.linspace(0, 0.4, 200)])
    found = extremes(lambda v: diagonal.double() * v, start(204), 0.01, 204)
    assert found.smallest == pytest.approx(-0.5, rel=1e-3)
    assert found.largest == pytest.approx(100, rel=1e-6)
    assert found.iterations < 60


def test_few_iterations_leave_a_residual() -> None:
    matrix = symmetric(200, 0)
    found = extremes(lambda v: matrix @ v, start(200), 1e-6, 5)
    assert found.iterations == 5
    assert found.residual > 1e-3


def test_no_curvature_at_all() -> None:
    found = extremes(torch.zeros_like, start(5), 0.01, 5)
    assert (found.largest, found.smallest, found.residual, found.iterations) == (0, 0, 0, 1)
    assert math.isnan(found.ratio)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_product_that_is_not_finite(bad: float) -> None:
    found = extremes(lambda v: v * bad, start(5), 0.01, 5)
    assert math.isnan(found.largest)
    assert math.isnan(found.ratio)
    assert found.iterations == 1

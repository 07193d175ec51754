"""Coordinates against numpy's least squares over whole vectors."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lossgrid.space import Layout, Plane, Projection

LAYOUT = Layout([("a", "weight", torch.Size([5, 3])), ("b", "bias", torch.Size([7]))])


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plane(corners: Tensor, barycentric: bool = False) -> Plane:
    return Plane(LAYOUT, corners, barycentric, {})


@pytest.mark.parametrize("block", [1 << 20, 4])
@given(
    seed=st.integers(0, 99),
    count=st.sampled_from([1, 2]),
    barycentric=st.booleans(),
    lean=st.floats(0, 0.99),
)
def test_they_are_the_least_squares(
    block: int, seed: int, count: int, barycentric: bool, lean: float
) -> None:
    """The directions need not be orthogonal, nor of norm one."""
    corners = drawn(seed, 1 + count, LAYOUT.size)
    corners[-1] = lean * corners[1] + (1 - lean) * corners[-1]
    there = drawn(seed + 100, LAYOUT.size)
    directions = corners[1:] - corners[0] if barycentric else corners[1:]
    expected, *_ = np.linalg.lstsq(directions.T.numpy(), (there - corners[0]).numpy(), rcond=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("lossgrid.space.projection"), "BLOCK", block)
        found = Projection(plane(corners, barycentric))(LAYOUT.views(there))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_theta_lies_at_zero_to_the_bit() -> None:
    corners = drawn(1, 3, LAYOUT.size)
    assert Projection(plane(corners))(LAYOUT.views(corners[0])).tolist() == [0, 0]


def test_what_lies_in_the_plane_is_found_there() -> None:
    corners = drawn(2, 3, LAYOUT.size)
    there = torch.empty(LAYOUT.size, dtype=torch.float64)
    plane(corners).move(there, -1.5, 0.25)
    np.testing.assert_allclose(Projection(plane(corners))(LAYOUT.views(there)), [-1.5, 0.25])


def test_parallel_directions_share() -> None:
    corners = drawn(3, 3, LAYOUT.size)
    corners[2] = corners[1]
    there = corners[0] + 3 * corners[1]
    np.testing.assert_allclose(Projection(plane(corners))(LAYOUT.views(there)), [1.5, 1.5])

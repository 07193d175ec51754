from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossgrid.curvature.convolution import convolution

TORCHS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def products(function: Any, tensors: list[Tensor], *sizes: Any) -> list[Tensor]:
    """Output, gradients by all tensors, and their products with the Hessian of a curved sum."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    output = function(*leaves, *sizes)
    once = torch.autograd.grad(output.sin().sum(), leaves, create_graph=True)
    vectors = drawn(*(tuple(leaf.shape) for leaf in leaves))
    return [output, *once, *torch.autograd.grad(once, leaves, vectors)]


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    biased=st.booleans(),
)
def test_derivatives_are_those_of_torchs_own(
    count: int, stride: int, padding: int, dilation: int, groups: int, biased: bool
) -> None:
    images, weight, bias = drawn((2, 4, *[6] * count), (6, 4 // groups, *[3] * count), (6,))
    tensors = [images, weight, bias] if biased else [images, weight]

    def apply(own: Any) -> Any:
        return lambda x, w, b=None: own(x, w, b, stride, padding, dilation, groups)

    ours, theirs = (products(apply(own), tensors) for own in (convolution, TORCHS[count]))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_some_of_its_arguments_may_be_constant(which: int) -> None:
    tensors = drawn((2, 3, 5, 5), (4, 3, 3, 3), (4,))

    def by(own: Any) -> list[Tensor]:
        leaves = [tensor.clone() for tensor in tensors]
        leaf = leaves[which].requires_grad_()
        output = own(*leaves)
        (once,) = torch.autograd.grad(output.sin().sum(), leaf, create_graph=True)
        return [once, *torch.autograd.grad(once, leaf, torch.ones_like(leaf))]

    for one, other in zip(by(convolution), by(F.conv2d), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)

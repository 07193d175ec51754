"""Convolutions whose derivatives can be differentiated at the cost of such derivatives.

torch's own formula for second derivatives makes filters as large as images, for which CPUs have no
fast convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd import Function
from torch.autograd.function import once_differentiable

aten = torch.ops.aten

CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)

Sizes = tuple[list[int], list[int], list[int], bool, list[int], int]
"""Stride, padding, dilation, whether it is transposed, the padding of that, and groups."""


def differentiate_twice(graph: fx.Graph) -> None:
    """Let a graph's convolutions be those of this module."""
    for target in CONVOLUTIONS:
        for node in graph.find_nodes(op="call_function", target=target):
            node.target = convolution


def convolution(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: list[int] | int = 1,
    padding: list[int] | int = 0,
    dilation: list[int] | int = 1,
    groups: int = 1,
) -> Tensor:
    """As torch's own in one to three dimensions, of a batch; it can be differentiated twice."""
    count = weight.dim() - 2
    strides, paddings, dilations = (_each(size, count) for size in (stride, padding, dilation))
    sizes = (strides, paddings, dilations, False, [0] * count, groups)
    output: Tensor = _Convolution.apply(inputs, weight, bias, sizes)  # type: ignore[no-untyped-call]
    return output


def _each(size: list[int] | int, count: int) -> list[int]:
    sizes = [size] if isinstance(size, int) else list(size)
    return sizes * count if len(sizes) == 1 else sizes


class _Convolution(Function):
    """y = w * x + b."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, sizes: Sizes
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.sizes = sizes
        output: Tensor = aten.convolution(inputs, weight, bias, *sizes)
        return output

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        inputs, weight = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[:3]]
        return *_Slopes.apply(slope, inputs, weight, ctx.sizes, wanted), None  # type: ignore[no-untyped-call]


class _Slopes(Function):
    """The derivatives of the sum of s y by x, w and b.

    Each is linear in s, and in one of w and x; its derivatives by them, times what comes from
    above, are again such a convolution or such a derivative of one.
    """

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, inputs: Tensor, weight: Tensor, sizes: Sizes, wanted: list[bool]
    ) -> Any:
        ctx.save_for_backward(slope, inputs, weight)
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)
        return _slopes(slope, inputs, weight, sizes, wanted)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_inputs: Tensor | None, of_weight: Tensor | None, of_bias: Tensor | None
    ) -> Any:
        slope, inputs, weight = ctx.saved_tensors
        sizes = ctx.sizes
        by_slope: list[Tensor] = []
        by_inputs = by_weight = None
        if of_inputs is not None:
            by_slope.append(aten.convolution(of_inputs, weight, None, *sizes))
            _, by_weight, _ = _slopes(slope, of_inputs, weight, sizes, [False, True, False])
        if of_weight is not None:
            by_slope.append(aten.convolution(inputs, of_weight, None, *sizes))
            if ctx.needs_input_grad[1]:
                by_inputs, _, _ = _slopes(slope, inputs, of_weight, sizes, [True, False, False])
        if of_bias is not None:
            by_slope.append(of_bias.view(-1, *[1] * (slope.dim() - 2)).expand_as(slope))
        total = sum(by_slope[1:], by_slope[0]) if by_slope else None
        return total, by_inputs, by_weight, None, None


def _slopes(slope: Tensor, inputs: Tensor, weight: Tensor, sizes: Sizes, wanted: list[bool]) -> Any:
    biases = [weight.shape[0]]
    return aten.convolution_backward(slope, inputs, weight, biases, *sizes, wanted)

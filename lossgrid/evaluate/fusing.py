"""The same network at less cost: BatchNorm folded into its layer, sums and ReLUs in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.proxy import GraphAppendingTracer

from lossgrid.evaluate.tracing import LAYERS, aten, is_new_memory

NARROW = 32
"""Filters."""

RESHAPES = (
    aten.view.default,
    aten._unsafe_view.default,
    aten.squeeze_.dims,
    aten.transpose.int,
    aten.t.default,
)

CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)


def fold_norms(graph: fx.Graph) -> None:
    """Let each convolution or linear layer do the work of the BatchNorm that alone reads it."""
    for norm in graph.find_nodes(op="call_function", target=aten.batch_norm.default):
        if not _is_foldable(norm):
            continue
        layer, gamma, beta, mean, variance, _, _, eps, _ = norm.args
        inputs, weight, bias, *rest = (*layer.args, None)[: max(3, len(layer.args))]
        with graph.inserting_before(norm):
            tensors = proxies(graph, weight, bias, gamma, beta, mean, variance)
            both: Any = folded(*tensors, eps)  # type: ignore[call-arg]
            one = graph.call_function(layer.target, (inputs, *(b.node for b in both), *rest))
        one.meta = dict(norm.meta)
        norm.replace_all_uses_with(one)
        graph.erase_node(norm)
        graph.erase_node(layer)


def folded(
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer that is a layer W x + b and the BatchNorm after it.

    In eval mode BatchNorm is y = (x - mean) / sqrt(variance + eps) * gamma + beta, filter by
    filter, so that both together are s W x + (b - mean) s + beta with s = gamma / sqrt(variance +
    eps).

    Args:
        weight: shape (filters, ...).
        bias, gamma, beta, mean, variance: shape (filters,); None stands for 0, 1 and 0.
        eps: BatchNorm's.
    """
    scale = torch.rsqrt(variance + eps)
    if gamma is not None:
        scale = scale * gamma
    shift = (-mean if bias is None else bias - mean) * scale
    if beta is not None:
        shift = shift + beta
    rows = weight.flatten(1) * scale.unsqueeze(1)
    return rows.view_as(weight), shift


def work_in_place(graph: fx.Graph) -> None:
    """Let ReLUs and sums overwrite an operand that nobody else reads."""
    for node in graph.nodes:
        if node.target == aten.relu.default and _may_overwrite(node, node.args[0]):
            node.target = aten.relu_.default
        elif node.target == aten.add.Tensor and not node.kwargs:
            free = [arg for arg in node.args if _may_overwrite(node, arg)]
            if free:
                other = node.args[1] if free[0] is node.args[0] else node.args[0]
                node.target, node.args = aten.add_.Tensor, (free[0], other)


def cast_layers(graph: fx.Graph, dtype: torch.dtype) -> None:
    """Give layers weights and biases of a type; autocast gives them their inputs in it."""
    for node in [node for node in graph.nodes if node.target in LAYERS]:
        for number, tensor in enumerate(node.args[1:3], start=1):
            if isinstance(tensor, fx.Node):
                with graph.inserting_before(node):
                    cast = graph.call_function(aten.to.dtype, (tensor, dtype))
                node.update_arg(number, cast)


def lay_out_channels_last(graph: fx.Graph) -> None:
    """Give convolutions of images the weights' order in memory of `Plan.channels_last`."""
    layout: dict[str, Any] = {"memory_format": torch.channels_last}
    for node in graph.find_nodes(op="call_function", target=aten.conv2d.default):
        with graph.inserting_before(node):
            ordered = graph.call_function(aten.contiguous.default, (node.args[1],), layout)
        node.update_arg(1, ordered)


def turn_narrow_layers(graph: fx.Graph) -> None:
    """Compute y = x W^T as (W x^T)^T in linear layers of few filters.

    A product of matrices that has few rows costs CPUs half of one that has few columns.
    """
    for node in graph.find_nodes(op="call_function", target=aten.linear.default):
        if node.kwargs or _shape(node).dim() != 2 or _shape(node).shape[1] > NARROW:
            continue
        inputs, weight, bias = (*node.args, None)[:3]
        with graph.inserting_before(node):
            x, w, b = proxies(graph, inputs, weight, bias)
            product = w @ x.t()
            turned = (product if b is None else product + b.unsqueeze(1)).t()
        turned.node.meta = dict(node.meta)
        node.replace_all_uses_with(turned.node)
        graph.erase_node(node)


def _is_foldable(norm: fx.Node) -> bool:
    """Whether it has statistics and alone reads a layer whose filters are its channels."""
    layer, _, _, mean, variance, training, *_ = norm.args
    if training or mean is None or variance is None or not isinstance(layer, fx.Node):
        return False
    if layer.target not in LAYERS or layer.kwargs or len(layer.users) > 1:
        return False
    if layer.target in CONVOLUTIONS:  # of a batch, not of one sample
        return bool(_shape(layer).dim() == _shape(layer.args[1]).dim())
    return bool(_shape(layer).dim() == 2)


def _may_overwrite(node: fx.Node, operand: Any) -> bool:
    """Whether a result of the same shape and type can be put into an operand's memory."""
    if not isinstance(operand, fx.Node) or len(operand.users) > 1:
        return False
    if "val" not in operand.meta or not isinstance(_shape(operand), Tensor):
        return False
    like = (_shape(operand).shape, _shape(operand).dtype)
    return _owns_memory(operand) and like == (_shape(node).shape, _shape(node).dtype)


def _owns_memory(node: fx.Node) -> bool:
    """Whether nobody else can read the memory that a result lies in."""
    while _passes_on(node):
        node = node.args[0]  # type: ignore[assignment]
        if len(node.users) > 1:
            return False
    return is_new_memory(node)


def _passes_on(node: fx.Node) -> bool:
    """Whether a result is its first operand's memory, all of it, each element once."""
    return node.target in (aten.relu_.default, aten.add_.Tensor, *RESHAPES)


def _shape(node: Any) -> Any:
    """The result that the trace saw, without values."""
    return node.meta["val"]


def proxies(graph: fx.Graph, *nodes: fx.Node | None) -> Any:
    """What writes into the graph, at its insertion point, what is computed with it."""
    tracer = GraphAppendingTracer(graph)
    return [node if node is None else fx.Proxy(node, tracer) for node in nodes]

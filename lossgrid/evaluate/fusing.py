"""The same network at less cost: BatchNorm folded into its layer, sums and ReLUs in place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.fx.proxy import GraphAppendingTracer

from lossgrid.evaluate.tracing import LAYERS, aten, base, is_mutable, is_new_memory

mkldnn = torch.ops.mkldnn

NARROW = 32
"""Filters."""

RESHAPES = (
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.squeeze_.dims,
    aten.transpose.int,
    aten.t.default,
    aten.contiguous.default,
)

SUMMING = "mkldnn._convolution_pointwise_.binary"
"""Adds a convolution to what is there; by name, as not every torch has it."""

IN_PLACE = (aten.relu_.default, aten.add_.Tensor)

CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)


def fold_norms(graph: fx.Graph) -> None:
    """Let each convolution or linear layer do the work of the BatchNorm that alone reads it."""
    for norm in graph.find_nodes(op="call_function", target=aten.batch_norm.default):
        if not _is_foldable(norm):
            continue
        layer, gamma, beta, mean, variance, _, _, eps, _ = norm.args
        inputs, weight, bias, *rest = (*layer.args, None)[: max(3, len(layer.args))]
        with graph.inserting_before(layer):  # what it reads may be written into before the norm
            tensors = proxies(graph, weight, bias, gamma, beta, mean, variance)
            both: Any = folded(*tensors, eps)  # type: ignore[call-arg]
            one = graph.call_function(layer.target, (inputs, *(b.node for b in both), *rest))
        one.meta = dict(norm.meta)
        both[0].node.meta = dict(weight.meta)  # another norm may follow
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


def let_views_copy(graph: fx.Graph) -> None:
    """Let views be copies where the other rewritings give images another order in memory.

    Those stay whose memory may be written into later, since all that share it must see that.
    """
    for view in graph.find_nodes(op="call_function", target=aten.view.default):
        if _is_never_written(view):
            view.target = aten.reshape.default


def keep_copies(graph: fx.Graph) -> None:
    """Let copies stay such where the other rewritings give images another order in memory.

    Those may be views whose memory, or that of what they copy, nobody writes into later.
    """
    for copied in [node for node in graph.nodes if node.meta.get("copied")]:
        if not _is_never_written(copied):
            with graph.inserting_after(copied):
                own = graph.call_function(aten.clone.default, (copied,))
            own.meta = dict(copied.meta)
            copied.replace_all_uses_with(own, lambda node, own=own: node is not own)


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


def join_convolutions(graph: fx.Graph) -> None:
    """Let convolutions of images do the work of the sum and the ReLU that alone read them."""
    for layer in graph.find_nodes(op="call_function", target=aten.conv2d.default):
        dtype = _shape(layer).dtype
        if layer.kwargs or _shape(layer).dim() != 4 or not can_join(dtype):
            continue
        inputs, weight, bias, *sizes = _arguments(layer)
        added, clipped = _what_follows(layer)
        last = clipped or added or layer
        operand = _other_operand(added, layer) if added else None
        with graph.inserting_before(last):
            x, w, b, other = proxies(graph, inputs, weight, bias, operand)
            if added and not _may_overwrite(added, operand, since=layer):
                other = aten.clone.default(other)
            x = x if _shape(inputs).dtype == dtype else x.to(dtype)
            shape = list(_shape(inputs).shape)
            one = joined(x, shape, w, b, sizes, other, relu=clipped is not None)
        one.node.meta = dict(last.meta)
        last.replace_all_uses_with(one.node)
        for node in (clipped, added, layer):
            if node is not None:
                graph.erase_node(node)


@cache
def can_join(dtype: torch.dtype) -> bool:
    """Whether this torch has `joined`, on this processor, and it computes what it should.

    Its operations are those that torch's own compiler emits for CPUs, and private.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    numbers = torch.linspace(-1, 1, 1024, dtype=dtype)
    x, w, b = numbers.view(1, 16, 8, 8), numbers[:256].view(16, 16, 1, 1), numbers[:16]
    sizes = ([0, 0], [1, 1], [1, 1], 1)
    plain = F.conv2d(x, w, b)
    cases = [
        (None, False, plain),
        (None, True, plain.relu()),
        (x.clone(), False, plain + x),
        (x.clone(), True, (plain + x).relu()),
    ]
    try:
        return all(
            torch.allclose(joined(x, list(x.shape), w, b, sizes, other, relu), true, 0.02, 0.02)
            for other, relu, true in cases
        )
    except (AttributeError, RuntimeError):
        return False


def joined(
    inputs: Any,
    shape: list[int],
    weight: Any,
    bias: Any,
    sizes: Sequence[Any],
    other: Any,
    relu: bool,
) -> Any:
    """A convolution, a sum and a ReLU in one operation, on tensors or on proxies of these.

    The weight is first brought into an order in memory that suits the operation.

    Args:
        inputs: images.
        shape: theirs.
        weight, bias: of the convolution.
        sizes: padding, stride and dilation, each for height and width, and groups.
        other: what is added, like the result, and may be overwritten; None for nothing.
        relu: whether negative results become zero.
    """
    ordered = mkldnn._reorder_convolution_weight.default(weight, *sizes, shape)
    if other is None:
        then: tuple[Any, ...] = ("relu" if relu else "none", [], "")
        return mkldnn._convolution_pointwise.default(inputs, ordered, bias, *sizes, *then)
    other = aten.contiguous.default(other, memory_format=torch.channels_last)
    after: tuple[Any, ...] = ("add", None, "relu" if relu else None, [], "")
    return mkldnn._convolution_pointwise_.binary(other, inputs, ordered, bias, *sizes, *after)


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


def _arguments(layer: fx.Node) -> tuple[Any, ...]:
    """Input, weight, bias, padding, stride, dilation, groups of a convolution of images."""
    defaults = (None, None, None, 1, 0, 1, 1)
    arguments: tuple[Any, ...] = (*layer.args, *defaults[len(layer.args) :])
    inputs, weight, bias, stride, padding, dilation, groups = arguments
    sizes = [[s] * 2 if isinstance(s, int) else [s[0], s[-1]] for s in (padding, stride, dilation)]
    return inputs, weight, bias, *sizes, groups


def _what_follows(layer: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    """The sum that alone reads a layer, and the ReLU that alone reads that; each may be missing."""
    added = _only_reader(layer, (aten.add.Tensor, aten.add_.Tensor))
    if added is not None and not _may_join(added, layer):
        added = None
    clipped = _only_reader(added or layer, (aten.relu.default, aten.relu_.default))
    chain = [node for node in (layer, added, clipped) if node is not None]
    between = layer
    while between is not chain[-1]:
        between = between.next
        if between not in chain and is_mutable(between):
            return None, None
    return added, clipped


def _only_reader(node: fx.Node, targets: tuple[Any, ...]) -> fx.Node | None:
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and readers[0].target in targets else None


def _may_join(added: fx.Node, layer: fx.Node) -> bool:
    """Whether a sum has operands of one shape and type, and overwrites no other than the layer."""
    other = _other_operand(added, layer)
    if added.kwargs or not isinstance(other, fx.Node) or other is layer:
        return False
    if added.target == aten.add_.Tensor and added.args[0] is not layer:
        return False
    if _arguments(layer)[-1] != 1:  # in bfloat16 only layers without groups can
        return False
    like = [(_shape(n).shape, _shape(n).dtype) for n in (other, layer, added)]
    return like[0] == like[1] == like[2]


def _other_operand(added: fx.Node, layer: fx.Node) -> Any:
    return added.args[1] if added.args[0] is layer else added.args[0]


def _is_foldable(norm: fx.Node) -> bool:
    """Whether it has statistics and alone reads a layer whose filters are its channels.

    They must be known where the layer is.
    """
    layer, gamma, beta, mean, variance, training, *_ = norm.args
    if training or mean is None or variance is None or not isinstance(layer, fx.Node):
        return False
    if layer.target not in LAYERS or layer.kwargs or len(layer.users) > 1:
        return False
    if any(isinstance(n, fx.Node) and not n < layer for n in (gamma, beta, mean, variance)):
        return False
    if layer.target in CONVOLUTIONS:  # of a batch, not of one sample
        return bool(_shape(layer).dim() == _shape(layer.args[1]).dim())
    return bool(_shape(layer).dim() == 2)


def _is_never_written(node: fx.Node) -> bool:
    """Whether no later operation writes into the memory of a result or of its first operand."""
    memory = base(node)
    written = {base(one) for one in node.graph.nodes if is_mutable(one) and node < one}
    return not written or (memory is not None and written.isdisjoint({memory, None}))


def _may_overwrite(node: fx.Node, operand: Any, since: fx.Node | None = None) -> bool:
    """Whether a result of the same shape and type can be put into an operand's memory.

    Args:
        node: makes the result.
        operand: of it.
        since: the first operation that it does the work of; None for itself.
    """
    if not isinstance(operand, fx.Node) or not isinstance(operand.meta.get("val"), Tensor):
        return False
    like = (_shape(operand).shape, _shape(operand).dtype)
    if like != (_shape(node).shape, _shape(node).dtype) or not _owns_memory(operand):
        return False
    return _reads_last(node, operand, since or node)


def _reads_last(node: fx.Node, operand: fx.Node, since: fx.Node) -> bool:
    """Whether nobody else reads an operand's memory at the time of an operation or later."""
    memory = base(operand)
    sharing = [] if memory is None else [memory]
    for shared in sharing:  # which grows
        for reader in shared.users:
            if reader is node and shared is operand:
                continue
            if not reader < since:
                return False
            if base(reader) is memory:
                sharing.append(reader)
            elif not (is_new_memory(reader) or is_mutable(reader)):  # it may keep that memory
                return False
    return True


def _owns_memory(node: fx.Node) -> bool:
    """Whether a result is all of the memory that an operation has made."""
    while _passes_on(node):
        node = node.args[0]  # type: ignore[assignment]
    return is_new_memory(node)


def _passes_on(node: fx.Node) -> bool:
    """Whether a result is its first operand, all of it, each element once, or a copy of that."""
    return node.target in (*IN_PLACE, *RESHAPES) or str(node.target) == SUMMING


def _shape(node: Any) -> Any:
    """The result that the trace saw, without values."""
    return node.meta["val"]


def proxies(graph: fx.Graph, *nodes: fx.Node | None) -> Any:
    """What writes into the graph, at its insertion point, what is computed with it."""
    tracer = GraphAppendingTracer(graph)
    return [node if node is None else fx.Proxy(node, tracer) for node in nodes]

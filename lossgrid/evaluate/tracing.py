"""A network as a graph of tensor operations, with all of its tensors as inputs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from lossgrid.evaluate.recording import UntraceableError, blank, record
from lossgrid.problem.forward import arguments

aten = torch.ops.aten

LAYERS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.linear.default)
"""Linear in their weight, of which each row is a filter, and in their bias."""

COMPOSED = (*LAYERS, aten.batch_norm.default, aten.pad.default)
"""Operations made of others, of which it is known that their result is new memory."""


@dataclass(frozen=True)
class Trace:
    """What a network did when it was called once, operation by operation.

    Attributes:
        graph: its placeholders are the network's tensors in the order of `names`, then the leaves
            of the inputs; it returns the leaves of the outputs. Each node knows the shape and
            type of its result, as ``node.meta["val"]``.
        owner: of the tensors that the network keeps outside its state.
        names: of the network's parameters and buffers; tied ones occur once.
        outputs: how the leaves make up what the network returns.
    """

    graph: fx.Graph
    owner: nn.Module
    names: list[str]
    outputs: TreeSpec


def trace(network: nn.Module, inputs: Any) -> Trace:
    """Record what a network does with a batch, of which it is shown no value.

    Args:
        network: in eval mode.
        inputs: a batch, as the network takes it.

    Raises:
        UntraceableError: it has hooks, switches autocast, changes its inputs or weights, or needs
            values to decide what to do.
        Exception: of any kind, from the network.
    """
    if has_hooks(network):
        raise UntraceableError("it has hooks")
    state = tensors_of(network)
    leaves, spec = tree_flatten(inputs)
    shapes: list[TreeSpec] = []

    def call(*tensors: Tensor) -> list[Any]:
        own = dict(zip(state, tensors, strict=False))
        given = tree_unflatten(tensors[len(own) :], spec)
        positional, named = arguments(network, given)
        outputs = torch.func.functional_call(network, own, positional, named)
        parts, shape = tree_flatten(outputs)
        shapes.append(shape)
        return parts

    traced = record(call, *state.values(), *leaves)
    _own_results(traced.graph)
    return Trace(traced.graph, traced, list(state), shapes[0])


def has_hooks(network: nn.Module) -> bool:
    """Whether somebody wants to be called when a part of the network is."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a network by name."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def is_new_memory(node: fx.Node) -> bool:
    """Whether an operation's result shares memory with nothing that was there before it."""
    operation = node.target
    if not isinstance(operation, OpOverload):
        return False
    if operation in COMPOSED:
        return True
    schema = operation._schema
    composed = torch._C._dispatch_has_kernel_for_dispatch_key(
        operation.name(),  # type: ignore[no-untyped-call]
        "CompositeImplicitAutograd",
    )
    aliases = any(result.alias_info is not None for result in schema.returns)
    hides = "unsafe" in schema.name  # that its result is a view
    return bool(schema.returns) and not (composed or aliases or hides)


def is_random(node: fx.Node) -> bool:
    """Whether an operation may draw random numbers."""
    return (
        isinstance(node.target, OpOverload)
        and torch.Tag.nondeterministic_seeded in node.target.tags
    )


def is_mutable(node: fx.Node) -> bool:
    """Whether an operation writes into its arguments."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def retype(
    traced: Trace, tensors: Sequence[Tensor], precision: AbstractContextManager[None]
) -> None:
    """Let each node know the shape and type of its result as it is in a precision.

    Args:
        traced: what is to be changed.
        tensors: of the network, then of the inputs.
        precision: in which the graph is run once.
    """
    with torch.no_grad(), precision:
        _Retyper(fx.GraphModule(traced.owner, traced.graph)).run(*tensors)


class _Retyper(fx.Interpreter):
    """Notes the shape and type of each result."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        n.meta["val"] = tree_map(_blank, result)
        return result


def _blank(leaf: Any) -> Any:
    return blank(leaf) if isinstance(leaf, Tensor) else leaf


def base(node: fx.Node) -> fx.Node | None:
    """The operation, placeholder or constant in whose memory a result lies, if it is known."""
    while not is_new_memory(node) and node.op == "call_function":
        first = node.args[0] if node.args else None
        if not isinstance(first, fx.Node):  # a list of tensors, say
            return None
        node = first
    return node


def _is_own(node: fx.Node) -> bool:
    """Whether a result lies in memory that an operation of this graph has made."""
    found = base(node)
    return found is not None and is_new_memory(found)


def _own_results(graph: fx.Graph) -> None:
    """Let no result lie in memory that was there before: a loss might write into it."""
    (end,) = graph.find_nodes(op="output")
    for result in end.all_input_nodes:
        if isinstance(result.meta.get("val"), Tensor) and not _is_own(result):
            with graph.inserting_before(end):
                copied = graph.call_function(aten.clone.default, (result,))
            copied.meta = dict(result.meta)
            end.replace_input_with(result, copied)

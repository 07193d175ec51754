"""The first layer's output at any point of the plane, as a sum of its outputs at the corners.

A layer W x + b is linear in W and b, and these are sums over the plane's corners, with the
coefficients of a point. If x does not move, the layer's outputs at the corners can be computed once
for the whole grid: its images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from lossgrid.data import Split
from lossgrid.evaluate.batches import batches
from lossgrid.evaluate.fusing import proxies
from lossgrid.evaluate.stages import part
from lossgrid.evaluate.tracing import LAYERS, Trace, is_random
from lossgrid.space import Plane

LARGEST_IMAGES = 1 << 28
"""Bytes of a split's images at most; beyond that, reading them costs more than the layer."""


@dataclass(frozen=True)
class FirstLayer:
    """A network in two: its first layer, and the rest, which reads the layer's images.

    Attributes:
        layer: takes the network's tensors and the leaves of the inputs; returns the layer's
            output, shape (samples, ...).
        rest: `Trace` of a network with one tensor more, the coefficients, shape (corners,), whose
            inputs are images, shape (samples, corners, ...).
    """

    layer: fx.GraphModule
    rest: Trace


def take_images(
    layer: fx.GraphModule,
    split: Split,
    state: Mapping[str, Tensor],
    plane: Plane,
    batch_size: int,
) -> Split | None:
    """A split whose inputs are a first layer's images; none if they take too much memory.

    Args:
        layer: see `FirstLayer`.
        split: on the device.
        state: tensors of the network by name.
        plane: likewise, in the plan's type.
        batch_size: samples at a time.
    """
    states = _corner_states(state, plane)
    found = None
    for batch in batches(len(split), batch_size):
        inputs, _ = split.batch(batch.begin, batch.end, plane.corners.dtype)
        for number, corner in enumerate(states):
            (output,) = layer(*corner.values(), *tree_leaves(inputs))
            if found is None:
                shape = (len(states), len(split), *output.shape[1:])
                if output.element_size() * torch.Size(shape).numel() > LARGEST_IMAGES:
                    return None
                found = torch.empty(shape, dtype=output.dtype, device=output.device)
            if not output.isfinite().all():  # 0 times which is no 0
                return None
            found[number, batch.begin : batch.end] = output
    assert found is not None
    return Split(found.transpose(0, 1), split.targets)


def take_first_layer(traced: Trace) -> FirstLayer | None:
    """Cut a network after its first layer, if nothing else reads the inputs."""
    places = traced.graph.find_nodes(op="placeholder")
    state, inputs = set(places[: len(traced.names)]), set(places[len(traced.names) :])
    for layer in traced.graph.nodes:
        if layer.target in LAYERS and not _ancestors(layer).isdisjoint(inputs):
            break
    else:
        return None
    needed = _ancestors(layer.args[0]) | {layer.args[0]}
    of_inputs = {node for node in needed if node in inputs or _ancestors(node) & inputs}
    if (
        layer.kwargs
        or needed & state
        or any(is_random(node) for node in needed)
        or not set(layer.all_input_nodes[1:]) <= state
        or any(
            user is not layer and user not in needed for node in of_inputs for user in node.users
        )
    ):
        return None
    early = [n for n in traced.graph.nodes if n in needed | state | inputs]
    return FirstLayer(part(traced, [*early, layer], [layer]), _rest(traced, of_inputs, layer))


def _ancestors(node: fx.Node) -> set[fx.Node]:
    """All that a result is made of."""
    found: set[fx.Node] = set()
    waiting = list(node.all_input_nodes)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += one.all_input_nodes
    return found


def _rest(traced: Trace, before: set[fx.Node], layer: fx.Node) -> Trace:
    """The network after a layer, which is a sum of images there."""
    graph, copies = fx.Graph(), {}
    state = traced.graph.find_nodes(op="placeholder")[: len(traced.names)]
    for node in state:
        copies[node] = graph.node_copy(node)
    coefficients, images = proxies(
        graph, graph.placeholder("coefficients"), graph.placeholder("images")
    )
    total = coefficients @ images.transpose(0, 1).flatten(1)
    copies[layer] = total.view(layer.meta["val"].shape).node
    copies[layer].meta = dict(layer.meta)
    inputs = traced.graph.find_nodes(op="placeholder")[len(traced.names) :]
    for node in traced.graph.nodes:
        if node not in copies and node not in before and node not in inputs:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    return Trace(graph, traced.owner, [*traced.names, "coefficients"], traced.outputs)


def _corner_states(state: Mapping[str, Tensor], plane: Plane) -> list[dict[str, Tensor]]:
    """Tensors at the corners, such that their sums with a point's coefficients are the point's.

    What does not move belongs to theta alone if the other corners are directions; the coefficients
    of checkpoints sum to one.
    """
    still = [state if plane.barycentric else {n: torch.zeros_like(t) for n, t in state.items()}]
    stills = [state, *still * (len(plane.corners) - 1)]
    moved = [plane.layout.views(corner) for corner in plane.corners]
    return [{**dict(other), **views} for other, views in zip(stills, moved, strict=True)]

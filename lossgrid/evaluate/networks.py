"""The network at places of the plane, in the form that a plan asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.func import vmap
from torch.utils._pytree import TreeSpec, tree_leaves, tree_unflatten

from lossgrid.evaluate.fusing import cast_layers, fold_norms, lay_out_channels_last, work_in_place
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.stages import split_by_weights
from lossgrid.evaluate.tracing import has_hooks, tensors_of, trace
from lossgrid.space import Plane

Place = tuple[float, float]
"""(alpha, beta)."""

Forward = Callable[..., Any]
"""From a batch of inputs to outputs."""


class MovingNetwork(Protocol):
    """What an evaluator needs of a network."""

    def move(self, places: list[Place]) -> None:
        """Go to as many places as the plan has points a pass."""

    def lanes(self, count: int) -> list[Forward]:
        """At most `count` forward passes that can run at a time.

        Outputs have the places as a first dimension if the plan has several points a pass.
        """


class PlainNetwork:
    """The user's own module as it is; its tensors are views of a flat vector.

    Args:
        build_model: makes a new module.
        plane: theta and directions, on the device, in the plan's type.
    """

    def __init__(self, build_model: Callable[[], nn.Module], plane: Plane) -> None:
        self._build_model = build_model
        self._plane = plane
        self._flat = torch.full_like(plane.corners[0], torch.nan)

    def move(self, places: list[Place]) -> None:
        """See `MovingNetwork`."""
        self._plane.move(self._flat, *places[0])

    def lanes(self, count: int) -> list[Forward]:
        """A module each, since it may keep state as it runs; one if its copies would share it."""
        first = self._bound()
        if has_hooks(first):
            return [first]
        return [first, *(self._bound() for _ in range(count - 1))]

    def _bound(self) -> nn.Module:
        model = self._build_model().to(self._flat.device, self._flat.dtype).requires_grad_(False)
        self._plane.layout.bind(model, self._flat)
        return model


class FusedNetwork:
    """A graph that does what the network does at less cost, at one place or at several.

    What depends on the weights alone is computed once a point. The rest changes no state, so that
    several threads can run it at a time.

    Args:
        network: on the device, in the plan's type. It is not changed.
        plane: theta and directions, likewise.
        plan: device, precision, points a pass.
        batches: of inputs; one at least of each shape that will be met.

    Raises:
        Exception: of any kind, if the network can't be traced.
    """

    def __init__(
        self, network: nn.Module, plane: Plane, plan: Plan, batches: Iterable[Any]
    ) -> None:
        self._plane = plane
        self._points = plan.points_per_pass
        shape = (self._points, plane.layout.size)
        self._flat = torch.full(shape, torch.nan).to(plane.corners)
        self._state = {name: tensor.detach() for name, tensor in tensors_of(network).items()}
        self._graphs: dict[Shapes, _Graph] = {}
        for inputs in batches:
            if _shapes(inputs) not in self._graphs:
                self._graphs[_shapes(inputs)] = _graph(network, inputs, plan)

    def move(self, places: list[Place]) -> None:
        """See `MovingNetwork`."""
        for flat, place in zip(self._flat, places, strict=True):
            self._plane.move(flat, *place)
        for graph in self._graphs.values():
            weights = partial(self._weights, graph.weights)
            each = vmap(weights)(self._flat) if self._points > 1 else weights(self._flat[0])
            graph.handed = each

    def _weights(self, graph: fx.GraphModule, flat: Tensor) -> Any:
        state = self._state | self._plane.layout.views(flat)
        return graph(*state.values())

    def lanes(self, count: int) -> list[Forward]:
        """Itself."""
        return [self._forward] * count

    def _forward(self, inputs: Any) -> Any:
        graph = self._graphs[_shapes(inputs)]
        leaves = tree_leaves(inputs)
        batch: Forward = graph.batch
        if self._points > 1:
            batch = vmap(batch, in_dims=(0,) * len(graph.handed) + (None,) * len(leaves))
        return tree_unflatten(batch(*graph.handed, *leaves), graph.outputs)


Shapes = tuple[tuple[torch.Size, torch.dtype], ...]


def _shapes(inputs: Any) -> Shapes:
    return tuple((leaf.shape, leaf.dtype) for leaf in tree_leaves(inputs))


@dataclass
class _Graph:
    """A network as two graphs (see `split_by_weights`) and what the first has handed over."""

    weights: fx.GraphModule
    batch: fx.GraphModule
    outputs: TreeSpec
    handed: tuple[Any, ...] = ()


def _graph(network: nn.Module, inputs: Any, plan: Plan) -> _Graph:
    traced = trace(network, inputs)
    fold_norms(traced.graph)
    if plan.is_low:
        cast_layers(traced.graph, torch.bfloat16)
    if plan.device == "cpu" and plan.points_per_pass == 1:
        lay_out_channels_last(traced.graph)
    work_in_place(traced.graph)
    return _Graph(*split_by_weights(traced), traced.outputs)

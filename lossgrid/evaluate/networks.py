"""The network at places of the plane, in the form that a plan asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lossgrid.data import Split
from lossgrid.evaluate.fusing import cast_layers, fold_norms, lay_out_channels_last, work_in_place
from lossgrid.evaluate.graphs import Graph, Shapes, shapes, state_of
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.stages import split_by_weights
from lossgrid.evaluate.tracing import WritesError, has_hooks, trace
from lossgrid.space import Plane

Place = tuple[float, float]
"""(alpha, beta)."""

Forward = Callable[..., Any]
"""From a batch of inputs to outputs."""


class MovingNetwork(Protocol):
    """What an evaluator needs of a network.

    Attributes:
        splits: the data as this network reads it.
    """

    splits: list[Split]

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
        splits: on the device.
    """

    def __init__(
        self, build_model: Callable[[], nn.Module], plane: Plane, splits: list[Split]
    ) -> None:
        self.splits = splits
        self._build_model = build_model
        self._plane = plane
        self._flat = torch.full_like(plane.corners[0], torch.nan)

    def move(self, places: list[Place]) -> None:
        """See `MovingNetwork`."""
        self._plane.move(self._flat, *places[0])

    def lanes(self, count: int) -> list[Forward]:
        """A module each, since it may keep state as it runs; one if its copies would share it."""
        first = self._bound()
        alone = count == 1 or has_hooks(first) or self._writes(first)
        models = [first] if alone else [first, *(self._bound() for _ in range(count - 1))]
        return [partial(_with_copies, model) for model in models]

    def _writes(self, model: nn.Module) -> bool:
        """Whether it may write into the weights, which all copies share."""
        inputs, _ = self.splits[0].batch(0, 1, self._flat.dtype)
        try:
            trace(model, inputs)
        except WritesError:
            return True
        except Exception:
            return False
        return False

    def _bound(self) -> nn.Module:
        model = self._build_model().to(self._flat.device, self._flat.dtype).requires_grad_(False)
        self._plane.layout.bind(model, self._flat)
        return model


def _with_copies(model: nn.Module, inputs: Any) -> Any:
    """A model may write into its inputs, which may be views of the data."""
    return model(tree_map(Tensor.clone, inputs))


class FusedNetwork:
    """A graph that does what the network does at less cost.

    What depends on the weights alone is computed once a point. The rest changes no state, so that
    several threads can run it at a time.

    Args:
        network: on the device, in the plan's type. It is not changed.
        plane: theta and directions, likewise.
        plan: device, precision, batch size.
        splits: on the device.

    Raises:
        Exception: of any kind, if the network can't be traced.
    """

    def __init__(self, network: nn.Module, plane: Plane, plan: Plan, splits: list[Split]) -> None:
        self.splits = [_channels_last(split) for split in splits] if plan.channels_last else splits
        self._plane = plane
        self._flat = torch.full_like(plane.corners[0], torch.nan)
        self._state = state_of(network) | plane.layout.views(self._flat)
        self._graphs: dict[Shapes, Graph] = {}
        for split in self.splits:
            inputs, _ = split.batch(0, min(plan.batch_size, len(split)), plan.dtype)
            self._graphs[shapes(inputs)] = _fused(network, inputs, plan)

    def move(self, places: list[Place]) -> None:
        """See `MovingNetwork`."""
        self._plane.move(self._flat, *places[0])
        for graph in self._graphs.values():
            graph.handed = graph.weights(*self._state.values())

    def lanes(self, count: int) -> list[Forward]:
        """Itself."""
        return [self._forward] * count

    def _forward(self, inputs: Any) -> Any:
        return self._graphs[shapes(inputs)](inputs)


def _fused(network: nn.Module, inputs: Any, plan: Plan) -> Graph:
    traced = trace(network, inputs)
    fold_norms(traced.graph)
    if plan.precision == "bfloat16":
        cast_layers(traced.graph, torch.bfloat16)
    if plan.channels_last:
        lay_out_channels_last(traced.graph)
    work_in_place(traced.graph)
    return Graph.of(*split_by_weights(traced), traced.outputs, inputs)


def _channels_last(split: Split) -> Split:
    """Images in the order in memory that `Plan.channels_last` asks for."""

    def order(leaf: Tensor) -> Tensor:
        if leaf.dim() != 4:
            return leaf
        ordered = leaf.contiguous(memory_format=torch.channels_last)
        return ordered.pin_memory() if leaf.is_pinned() else ordered

    return replace(split, inputs=tree_map(order, split.inputs))

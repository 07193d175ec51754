"""The network at places of the plane, in the form that a plan asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lossgrid.data import Split
from lossgrid.data.split import cast_floats
from lossgrid.evaluate.fusing import (
    cast_layers,
    fold_norms,
    join_convolutions,
    keep_copies,
    lay_out_channels_last,
    let_views_copy,
    work_in_place,
)
from lossgrid.evaluate.graphs import Graph, Recording, Shapes, shapes, state_of
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.recording import WritesError
from lossgrid.evaluate.stages import split_by_weights
from lossgrid.evaluate.statistics import RecomputedStatistics
from lossgrid.evaluate.tracing import has_hooks, retype, tensors_of, trace
from lossgrid.problem.forward import forward
from lossgrid.space import Place, Plane

Forward = Callable[..., Any]
"""From a batch of inputs to outputs."""


Measure = Callable[[Any, Any], Iterable[Tensor]]
"""From outputs and targets of n samples to values (..., n) of each metric."""


class MovingNetwork(Protocol):
    """What an evaluator needs of a network.

    Attributes:
        splits: the data as this network reads it.
    """

    splits: list[Split]

    @property
    def recorded(self) -> Any:
        """What recording the network has shown, as plain data that another rank can be given."""

    def move(self, places: list[Place]) -> None:
        """Go to as many places as the plan has points a pass."""

    def lanes(self, count: int) -> list[Forward]:
        """At most `count` forward passes that can run at a time.

        Outputs have the places as a first dimension if the plan has several points a pass.
        """


def built(
    build_model: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """A new module without gradients, on a device and in a type, of which what was tied still is.

    torch gives each name of a buffer a tensor of its own where it converts them.
    """
    model = build_model()
    before = dict(model.named_buffers(remove_duplicate=False))
    model = _converted(model, device, dtype).requires_grad_(False)
    after = dict(model.named_buffers(remove_duplicate=False))
    first: dict[int, str] = {}
    for name, buffer in before.items():
        path, _, leaf = name.rpartition(".")
        model.get_submodule(path)._buffers[leaf] = after[first.setdefault(id(buffer), name)]
    return model


def _converted(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A model on a device, in a type or, where it is complex, in that of two of its numbers."""
    if not any(tensor.is_complex() for tensor in (*model.parameters(), *model.buffers())):
        return model.to(device, dtype)
    model = model.to(device)  # with a type, torch would leave out imaginary parts
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_complex():
            tensor.data = tensor.data.to(dtype.to_complex())
        elif tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return model


class PlainNetwork:
    """The user's own module as it is; its tensors are views of a flat vector.

    Args:
        build_model: makes a new module.
        plane: theta and directions, on the device, in the plan's type.
        splits: on the device.
        statistics: BatchNorm's, if they are computed anew.
        recorded: of such a network on another rank; None to record it here.
    """

    def __init__(
        self,
        build_model: Callable[[], nn.Module],
        plane: Plane,
        splits: list[Split],
        statistics: RecomputedStatistics | None = None,
        recorded: bool | None = None,
    ) -> None:
        self.splits = splits
        self._build_model = build_model
        self._plane = plane
        self._recorded = recorded
        self._flat = torch.empty_like(plane.corners[0])  # takes no memory until it is written
        self._statistics = statistics
        self._gathered = statistics.follow(plane, self._flat) if statistics else {}

    def move(self, places: list[Place]) -> None:
        """See `MovingNetwork`."""
        self._plane.move(self._flat, *places[0])
        if self._statistics:
            self._statistics.gather()

    def lanes(self, count: int) -> list[Forward]:
        """See `MovingNetwork`."""
        return [partial(_with_copies, model) for model in self.modules(count)]

    def modules(self, count: int) -> list[nn.Module]:
        """A module a lane, since it may keep state as it runs; one if its copies would share it."""
        alone = count > 1 and self.recorded
        return [self._bound() for _ in range(1 if alone else count)]

    @property
    def recorded(self) -> bool:
        """Whether only one module can run at a time: it has hooks, or may write into weights."""
        if self._recorded is None:
            model = self._bound()
            self._recorded = has_hooks(model) or self._writes(model)
        return self._recorded

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
        model = built(self._build_model, self._flat.device, self._flat.dtype)
        self._plane.layout.bind(model, self._flat)
        for name, tensor in self._gathered.items():
            path, _, leaf = name.rpartition(".")
            model.get_submodule(path)._buffers[leaf] = tensor
        return model


def _with_copies(model: nn.Module, inputs: Any) -> Any:
    """A model may write into its inputs, which may be views of the data."""
    return forward(model, tree_map(Tensor.clone, inputs))


class FusedNetwork:
    """A graph that does what the network does at less cost.

    What depends on the weights alone is computed once a point. The rest changes no state, so that
    several threads can run it at a time.

    Args:
        build_model: makes a new module.
        plane: theta and directions, on the device, in the plan's type.
        plan: device, precision, batch size.
        splits: on the device.
        statistics: BatchNorm's, if they are computed anew.
        recorded: of such a network on another rank; None to record it here.

    Raises:
        Exception: of any kind, if the network can't be traced.
    """

    def __init__(
        self,
        build_model: Callable[[], nn.Module],
        plane: Plane,
        plan: Plan,
        splits: list[Split],
        statistics: RecomputedStatistics | None = None,
        recorded: list[Recording] | None = None,
    ) -> None:
        device = plane.corners.device
        network = built(build_model, device, plan.dtype)
        self.splits = [_channels_last(split) for split in splits] if plan.channels_last else splits
        self.recorded = recorded or _recorded(network, plan, self.splits)
        self._plane = plane
        self._state = state_of(network) | plane.layout.views(plane.corners[0])
        del network  # what moves of it is not needed: as much memory as the next line takes
        self._flat = torch.full_like(plane.corners[0], torch.nan)
        self._state |= plane.layout.views(self._flat)
        self._statistics = statistics
        if statistics:
            self._state |= statistics.follow(plane, self._flat)
        self._graphs = {recording.inputs: Graph(recording, device) for recording in self.recorded}

    def move(self, places: list[Place]) -> None:
        """See `MovingNetwork`."""
        self._plane.move(self._flat, *places[0])
        if self._statistics:
            self._statistics.gather()
        for graph in self._graphs.values():
            graph.move(*self._state.values())

    def lanes(self, count: int) -> list[Forward]:
        """Itself."""
        return [self._forward] * count

    def _forward(self, inputs: Any) -> Any:
        return self._graphs[shapes(inputs)](inputs)


def _recorded(network: nn.Module, plan: Plan, splits: list[Split]) -> list[Recording]:
    """What the network does with the batches of all splits, once for those that are alike."""
    found: dict[Shapes, Recording] = {}
    for split in splits:
        inputs, _ = split.batch(0, min(plan.batch_size, len(split)), plan.dtype)
        if shapes(inputs) not in found:
            found[shapes(inputs)] = _fused(network, inputs, plan)
    return list(found.values())


def _fused(network: nn.Module, inputs: Any, plan: Plan) -> Recording:
    traced = trace(network, inputs)
    fold_norms(traced.graph)
    keep_copies(traced.graph)
    let_views_copy(traced.graph)
    if plan.precision == "bfloat16":
        cast_layers(traced.graph, torch.bfloat16)
        tensors = [*tensors_of(network).values(), *tree_leaves(inputs)]
        retype(traced, tensors, plan.arithmetic())
    if plan.device == "cpu":
        join_convolutions(traced.graph)
    if plan.channels_last:
        lay_out_channels_last(traced.graph)
    work_in_place(traced.graph)
    return Recording.of(*split_by_weights(traced), traced.outputs, inputs)


def _channels_last(split: Split) -> Split:
    """A split whose batches have images in the order in memory of `Plan.channels_last`."""
    if all(leaf.dim() != 4 for leaf in tree_leaves(split.inputs)):
        return split
    return replace(split, prepare=_ChannelsLast(split.prepare or cast_floats))


@dataclass(frozen=True)
class _ChannelsLast:
    """Orders the images of a batch before they are prepared: a copy of all would take memory."""

    prepare: Callable[[Any, torch.dtype], Any]

    def __call__(self, inputs: Any, dtype: torch.dtype) -> Any:
        return self.prepare(tree_map(ordered, inputs), dtype)


def ordered(leaf: Tensor) -> Tensor:
    """Images whose channels lie together in memory; what is none as it is."""
    return leaf.contiguous(memory_format=torch.channels_last) if leaf.dim() == 4 else leaf

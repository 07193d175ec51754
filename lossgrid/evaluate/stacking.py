"""The network at several points at a time, for networks whose single operations are small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from lossgrid.data import Split
from lossgrid.evaluate.affine import take_first_layer, take_images
from lossgrid.evaluate.fusing import fold_norms, turn_narrow_layers, work_in_place
from lossgrid.evaluate.graphs import Graph, Recording, Shapes, shapes, state_of
from lossgrid.evaluate.networks import Forward, Measure
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.programs import Program
from lossgrid.evaluate.recording import record
from lossgrid.evaluate.stages import split_by_weights
from lossgrid.evaluate.tracing import Trace, trace
from lossgrid.problem.losses import PerSample
from lossgrid.space import Place, Plane


@dataclass(frozen=True)
class Stack:
    """What is done with the batches of a split, at several points.

    Attributes:
        layer: the first layer, if its images are read instead of the inputs.
        network: the rest.
        metrics: from the leaves of the outputs, then those of the targets, to values of all
            metrics, shapes (points, samples).
    """

    layer: Program | None
    network: Recording
    metrics: Program


class StackedNetwork:
    """A graph that does what the network does at several points, each operation for all of them.

    The first layer's outputs come from its images if it has any (see `affine`).

    Args:
        network: on the device, in the plan's type. It is not changed.
        plane: theta and directions, likewise.
        plan: device, precision, batch size, points a pass.
        splits: on the device.
        metrics: of one point.
        recorded: of such a network on another rank; None to record it here.

    Raises:
        Exception: of any kind, if network or metrics can't be traced, or not for several points.
    """

    def __init__(
        self,
        network: nn.Module,
        plane: Plane,
        plan: Plan,
        splits: list[Split],
        metrics: Sequence[PerSample],
        recorded: list[Stack] | None = None,
    ) -> None:
        points = plan.points_per_pass
        self._plane = plane
        self._coefficients = plane.corners.new_zeros(points, len(plane.corners))
        self._flat = plane.corners.new_zeros(points, plane.layout.size)
        state = state_of(network)
        moving = plane.layout.views(plane.corners[0])
        self._still = [tensor for name, tensor in state.items() if name not in moving]
        self.recorded = recorded or [self._stack(network, split, plan, metrics) for split in splits]
        device = plane.corners.device
        self.splits: list[Split] = []
        self.measures: list[Measure] = []
        self._graphs: dict[Shapes, Graph] = {}
        for split, stack in zip(splits, self.recorded, strict=True):
            images = None
            if stack.layer is not None:
                layer = stack.layer.on(device)
                images = take_images(layer, split, state, plane, plan.batch_size)
            self.splits.append(images or split)
            self.measures.append(partial(_measure, stack.metrics.on(device)))
            self._graphs[stack.network.inputs] = Graph(stack.network, device)

    def move(self, places: list[Place]) -> None:
        """See `MovingNetwork`."""
        rows = [self._plane.coefficients(*place) for place in places]
        self._coefficients.copy_(torch.tensor(rows, dtype=torch.float64))
        torch.mm(self._coefficients, self._plane.corners, out=self._flat)
        for graph in self._graphs.values():
            graph.move(self._flat, self._coefficients, *self._still)

    def lanes(self, count: int) -> list[Forward]:
        """Itself."""
        return [self._forward] * count

    def _forward(self, inputs: Any) -> Any:
        return self._graphs[shapes(inputs)](inputs)

    def _stack(
        self, network: nn.Module, split: Split, plan: Plan, metrics: Sequence[PerSample]
    ) -> Stack:
        """Record what is done with the batches of a split."""
        size = min(plan.batch_size, len(split))
        inputs, targets = split.batch(0, size, plan.dtype)
        traced = trace(network, inputs)
        layer = None
        first = None if plan.is_low else take_first_layer(traced)  # a point's place stays exact
        if first is not None:
            state = state_of(network)
            images = take_images(first.layer, split, state, self._plane, plan.batch_size)
            if images is not None:
                layer, traced = Program.of(first.layer), first.rest
                inputs, _ = images.batch(0, size, plan.dtype)
        fold_norms(traced.graph)
        if plan.device == "cpu":
            turn_narrow_layers(traced.graph)
        recording, outputs = self._recorded(traced, inputs)
        return Stack(layer, recording, _of_each_point(metrics, outputs, targets))

    def _recorded(self, traced: Trace, inputs: Any) -> tuple[Recording, Any]:
        """The network at several points, and what it returns, of which only the shapes count."""
        weights, batch = split_by_weights(traced)
        layout = self._plane.layout
        still = [name for name in traced.names if name not in layout.views(self._flat[0])]
        still = [name for name in still if name != "coefficients"]

        def of_point(flat: Tensor, coefficients: Tensor, *others: Tensor) -> Any:
            known = dict(zip(still, others, strict=True)) | layout.views(flat)
            known["coefficients"] = coefficients
            return weights(*(known[name] for name in traced.names))

        given = (self._flat, self._coefficients, *self._still)
        dims = (0, 0) + (None,) * len(still)
        of_points = record(vmap(of_point, in_dims=dims), *given, composed=False)
        handed = of_points(*given)
        leaves = tree_leaves(inputs)
        several = vmap(batch, in_dims=(0,) * len(handed) + (None,) * len(leaves))
        of_batch = record(several, *handed, *leaves, composed=False)
        work_in_place(of_batch.graph)
        of_batch.recompile()
        (end,) = of_batch.graph.find_nodes(op="output")
        made = [_made(node.meta["val"], self._flat.device) for node in end.args[0]]
        outputs = tree_unflatten(made, traced.outputs)
        return Recording.of(of_points, of_batch, traced.outputs, inputs), outputs


def _of_each_point(metrics: Sequence[PerSample], outputs: Any, targets: Any) -> Program:
    """Metrics of outputs whose first dimension is the points of a pass; see `Stack`."""
    leaves, form = tree_flatten((outputs, targets))

    def of_point(*parts: Tensor) -> list[Tensor]:
        given = tree_unflatten(parts, form)
        return [metric(*given) for metric in metrics]

    count = len(tree_leaves(outputs))
    dims = (0,) * count + (None,) * (len(leaves) - count)
    return Program.of(record(vmap(of_point, in_dims=dims), *leaves, composed=False))


def _measure(metrics: fx.GraphModule, outputs: Any, targets: Any) -> list[Tensor]:
    found: list[Tensor] = metrics(*tree_leaves(outputs), *tree_leaves(targets))
    return found


def _made(like: Tensor, device: torch.device) -> Tensor:
    return torch.zeros(like.shape, dtype=like.dtype, device=device)

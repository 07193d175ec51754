"""The network at several points at a time, for networks whose single operations are small."""

from __future__ import annotations

from threading import Lock
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from lossgrid.data import Split
from lossgrid.evaluate.affine import take_first_layer
from lossgrid.evaluate.fusing import fold_norms, turn_narrow_layers, work_in_place
from lossgrid.evaluate.graphs import Graph, Shapes, shapes, state_of
from lossgrid.evaluate.networks import Forward, Place
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.stages import split_by_weights
from lossgrid.evaluate.tracing import Trace, record, trace
from lossgrid.problem.losses import PerSample
from lossgrid.space import Plane


class StackedNetwork:
    """A graph that does what the network does at several points, each operation for all of them.

    The first layer's outputs come from its images if it has any (see `affine`).

    Args:
        network: on the device, in the plan's type. It is not changed.
        plane: theta and directions, likewise.
        plan: device, precision, batch size, points a pass.
        splits: on the device.

    Raises:
        Exception: of any kind, if the network can't be traced, or not for several points.
    """

    def __init__(self, network: nn.Module, plane: Plane, plan: Plan, splits: list[Split]) -> None:
        self.splits: list[Split] = []
        self._plane = plane
        self._plan = plan
        self._state = state_of(network)
        points = plan.points_per_pass
        self._coefficients = plane.corners.new_zeros(points, len(plane.corners))
        self._flat = plane.corners.new_zeros(points, plane.layout.size)
        self._graphs: dict[Shapes, Graph] = {}
        for split in splits:
            self._add(network, split)

    def move(self, places: list[Place]) -> None:
        """See `MovingNetwork`."""
        rows = [self._plane.coefficients(*place) for place in places]
        self._coefficients.copy_(torch.tensor(rows, dtype=torch.float64))
        torch.mm(self._coefficients, self._plane.corners, out=self._flat)
        for graph in self._graphs.values():
            graph.handed = graph.weights(self._flat, self._coefficients)

    def lanes(self, count: int) -> list[Forward]:
        """Itself."""
        return [self._forward] * count

    def _forward(self, inputs: Any) -> Any:
        return self._graphs[shapes(inputs)](inputs)

    def _add(self, network: nn.Module, split: Split) -> None:
        """A split, and the graph for its batches."""
        plan = self._plan
        size = min(plan.batch_size, len(split))
        inputs, _ = split.batch(0, size, plan.dtype)
        traced = trace(network, inputs)
        first = None if plan.is_low else take_first_layer(traced)  # a point's place stays exact
        if first is not None:
            images = first.images(split, self._state, self._plane, plan.batch_size)
            if images is not None:
                split, traced = images, first.rest
                inputs, _ = split.batch(0, size, plan.dtype)
        self.splits.append(split)
        self._graphs[shapes(inputs)] = self._stacked(traced, inputs)

    def _stacked(self, traced: Trace, inputs: Any) -> Graph:
        fold_norms(traced.graph)
        if self._plan.device == "cpu":
            turn_narrow_layers(traced.graph)
        weights, batch = split_by_weights(traced)

        def of_point(flat: Tensor, coefficients: Tensor) -> Any:
            state = self._state | self._plane.layout.views(flat)
            known = {**state, "coefficients": coefficients}
            return weights(*(known[name] for name in traced.names))

        of_points = record(vmap(of_point), self._flat, self._coefficients, composed=False)
        handed = of_points(self._flat, self._coefficients)
        leaves = tree_leaves(inputs)
        several = vmap(batch, in_dims=(0,) * len(handed) + (None,) * len(leaves))
        of_batch = record(several, *handed, *leaves, composed=False)
        work_in_place(of_batch.graph)
        of_batch.recompile()
        return Graph.of(of_points, of_batch, traced.outputs, inputs)


def of_each_point(metric: PerSample) -> PerSample:
    """A metric for outputs whose first dimension is the points of a pass.

    Recorded for each kind of arguments: vmap itself takes as long as a small network.
    """
    recorded: dict[Shapes, fx.GraphModule] = {}
    recording = Lock()

    def values(outputs: Any, targets: Any) -> Tensor:
        leaves, form = tree_flatten((outputs, targets))
        key = shapes(leaves)

        def of_point(*parts: Tensor) -> list[Tensor]:
            return [metric(*tree_unflatten(parts, form))]

        with recording:
            if key not in recorded:
                count = len(tree_leaves(outputs))
                dims = (0,) * count + (None,) * (len(leaves) - count)
                recorded[key] = record(vmap(of_point, in_dims=dims), *leaves, composed=False)
        found: Tensor
        (found,) = recorded[key](*leaves)
        return found

    return values

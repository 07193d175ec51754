"""Values of grid points: the network moved there, run over all data, averaged."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lossgrid.data import Split
from lossgrid.evaluate.fusing import FusedNetwork, channels_last, has_hooks
from lossgrid.evaluate.plan import Plan
from lossgrid.problem import Problem
from lossgrid.space import Grid, Plane


@dataclass(frozen=True)
class Batch:
    """Samples [begin, end) of a split's pass, of which those from `fresh` on are new.

    The last batch is filled up with samples of the one before it, such that all batches of a split
    have one shape and so the same kernels, whose bits may depend on it.
    """

    begin: int
    fresh: int
    end: int


def batches(samples: int, size: int) -> Iterator[Batch]:
    """Cut a split into batches of `min(size, samples)` samples each."""
    size = min(size, samples)
    for fresh in range(0, samples, size):
        end = min(fresh + size, samples)
        yield Batch(end - size, fresh, end)


class GridEvaluator:
    """Loss and metrics at points of a grid, on one device.

    The moving weights are one flat vector that the models' parameters are views of: a point costs
    one sum of two or three vectors, then forward passes. Per-sample values come first, then their
    float64 mean in a fixed order, so that a value does not depend on the number of lanes.

    A fused network (see `FusedNetwork`) takes in the moved weights once a point and serves all
    lanes; a plain one is copied for each, since a module may keep state during a forward pass.

    Args:
        problem: model, data, loss.
        plane: theta and directions.
        grid: coordinates.
        plan: precision, batch size, device kind.
        device: the rank's own device of that kind.
        lanes: batches that run at a time (CPU cores of this rank; 1 on a GPU).

    Raises:
        Exception: of any kind, if the plan asks for a fused network and this one can't be.
    """

    points_per_pass = 1

    def __init__(
        self,
        problem: Problem,
        plane: Plane,
        grid: Grid,
        plan: Plan,
        device: torch.device,
        lanes: int = 1,
    ) -> None:
        self.columns = tuple(f"{s}_{m}" for s in problem.splits for m in problem.metrics)
        self._grid = grid
        self._plan = plan
        self._metrics = problem.metrics
        self._plane = plane.to(device, plan.dtype)
        self._flat = torch.empty(plane.layout.size, dtype=plan.dtype, device=device)
        is_fused = plan.network == "fused"
        self._splits = [_on_device(split, device, is_fused) for split in problem.splits.values()]
        self._samples = [
            torch.empty(len(problem.metrics), len(split), dtype=torch.float64, device=device)
            for split in self._splits
        ]
        first = self._bound(problem, device)
        if has_hooks(first):  # they may share what the copies of a model do not
            lanes = 1
        self._fused = FusedNetwork(first, self._first_batch()) if is_fused else None
        self._idle: SimpleQueue[nn.Module] = SimpleQueue()
        self._idle.put(self._fused or first)
        for _ in range(lanes - 1):
            self._idle.put(self._fused or self._bound(problem, device))
        self._pool = ThreadPoolExecutor(lanes, initializer=_one_thread) if lanes > 1 else None

    def _bound(self, problem: Problem, device: torch.device) -> nn.Module:
        """A new model that moves with the flat vector."""
        model = problem.build_model().to(device, self._plan.dtype).requires_grad_(False)
        self._plane.layout.bind(model, self._flat)
        return model

    def _first_batch(self) -> Any:
        split = self._splits[0]
        batch = next(batches(len(split), self._plan.batch_size))
        return self._read(split, batch)[0]

    def __call__(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values of grid points: float64, shape (n, len(columns))."""
        return np.stack([self.at(*self._grid.at(int(point))) for point in points])

    def at(self, alpha: float, beta: float) -> NDArray[np.float64]:
        """Values at one place of the plane: float64, shape (len(columns),)."""
        _one_thread()
        with torch.inference_mode():
            self._plane.move(self._flat, alpha, beta)
            if self._fused is not None:
                self._fused.fold()
            means = [
                self._fill(split, samples).mean(dim=1)
                for split, samples in zip(self._splits, self._samples, strict=True)
            ]
            return torch.cat(means).cpu().numpy()

    def _fill(self, split: Split, samples: Tensor) -> Tensor:
        """Per-sample values of a split, shape (metrics, samples)."""
        parts = batches(len(split), self._plan.batch_size)
        if self._pool is None:
            for batch in parts:
                self._run(split, samples, batch)
        else:
            running = [self._pool.submit(self._run, split, samples, batch) for batch in parts]
            wait(running)  # all of them: after an error none may touch the next point's values
            for batch_run in running:
                batch_run.result()
        return samples

    @torch.inference_mode()  # a mode of the thread, so every lane enters it
    def _run(self, split: Split, samples: Tensor, batch: Batch) -> None:
        inputs, targets = self._read(split, batch)
        model = self._idle.get()
        try:
            outputs = model(inputs)
        finally:
            self._idle.put(model)
        old = batch.fresh - batch.begin
        for row, metric in enumerate(self._metrics.values()):
            samples[row, batch.fresh : batch.end] = metric(outputs, targets)[old:]

    def _read(self, split: Split, batch: Batch) -> tuple[Any, Any]:
        """Inputs and targets of a batch as model and loss read them."""
        inputs, targets = _cut(split.inputs, batch), _cut(split.targets, batch)
        return split.prepared(inputs, targets, self._plan.dtype)


def _one_thread() -> None:
    """See `Plan`; every computing thread must say so itself, a new one begins with all cores."""
    torch.set_num_threads(1)


def _cut(tree: Any, batch: Batch) -> Any:
    return tree_map(lambda leaf: leaf[batch.begin : batch.end], tree)


def _on_device(split: Split, device: torch.device, channels_are_last: bool) -> Split:
    """In its storage type: uint8 images stay uint8 until they are read."""

    def move(leaf: Tensor) -> Tensor:
        leaf = leaf.to(device)
        return channels_last(leaf) if channels_are_last else leaf

    return replace(
        split, inputs=tree_map(move, split.inputs), targets=tree_map(move, split.targets)
    )

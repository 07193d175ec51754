"""Values of grid points: the network moved there, run over all data, averaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossgrid.data import Split
from lossgrid.evaluate.batches import Batch, batches
from lossgrid.evaluate.networks import (
    Forward,
    FusedNetwork,
    MovingNetwork,
    Place,
    PlainNetwork,
)
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.stacking import StackedNetwork, of_each_point
from lossgrid.evaluate.streaming import placed
from lossgrid.problem import Problem
from lossgrid.space import Grid, Plane


class GridEvaluator:
    """Loss and metrics at points of a grid, on one device.

    Per-sample values come first, then their float64 mean in a fixed order, so that a value does
    not depend on the number of lanes. A pass always holds as many places as the plan has points a
    pass, the last one repeated if there are fewer, so that all passes have one shape.

    Args:
        problem: model, data, loss.
        plane: theta and directions.
        grid: coordinates.
        plan: how points are evaluated.
        device: the rank's own, of the plan's kind.
        lanes: batches that run at a time (CPU cores of this rank; 1 on a GPU).

    Raises:
        Exception: of any kind, if the plan asks for a fused network and this one can't be.
    """

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
        self.points_per_pass = plan.points_per_pass
        self.plan = plan
        self._grid = grid
        metrics = problem.metrics.values()
        stacked = plan.points_per_pass > 1
        self._metrics = [of_each_point(m) for m in metrics] if stacked else list(metrics)
        self._network = _moving(problem, plane, plan, device)
        self._splits = self._network.splits
        shape = [plan.points_per_pass] if plan.points_per_pass > 1 else []
        self._samples = [
            torch.empty(*shape, len(self._metrics), len(split), dtype=torch.float64, device=device)
            for split in self._splits
        ]
        self._idle: SimpleQueue[Forward] = SimpleQueue()
        forwards = self._network.lanes(lanes)
        for forward in forwards:
            self._idle.put(forward)
        width = len(forwards)
        self._pool = ThreadPoolExecutor(width, initializer=_one_thread) if width > 1 else None

    def __call__(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values of grid points: float64, shape (n, len(columns))."""
        width = self.points_per_pass
        places = [self._grid.at(int(point)) for point in points]
        passes = [self.at(places[i : i + width]) for i in range(0, len(places), width)]
        return np.concatenate(passes)

    def at(self, places: list[Place]) -> NDArray[np.float64]:
        """Values at up to `points_per_pass` places: float64, shape (n, len(columns))."""
        with torch.inference_mode():
            self._move(places)
            for split, samples in zip(self._splits, self._samples, strict=True):
                self._fill(split, samples, self._batches(split))
            means = torch.cat([samples.mean(dim=-1) for samples in self._samples], dim=-1)
            return means.reshape(-1, len(self.columns))[: len(places)].cpu().numpy()

    def move(self, place: Place) -> None:
        """Go to a place, to look at some samples there."""
        with torch.inference_mode():
            self._move([place])

    def samples(self, number: int, begin: int, end: int) -> NDArray[np.float64]:
        """Values of some samples of a split at the place moved to, with one point a pass.

        Args:
            number: of the split.
            begin, end: of whole batches; the last may end with the split.

        Returns: float64, shape (metrics, end - begin).
        """
        split, samples = self._splits[number], self._samples[number]
        with torch.inference_mode():
            self._fill(split, samples, [b for b in self._batches(split) if begin <= b.fresh < end])
            return samples[:, begin:end].cpu().numpy().copy()

    def first_batch(self, places: list[Place]) -> list[NDArray[np.float64]]:
        """Per-sample values of each split's first batch: shapes (n, metrics, samples)."""
        found = []
        with torch.inference_mode():
            self._move(places)
            for split, samples in zip(self._splits, self._samples, strict=True):
                batch = self._batches(split)[0]
                self._run(split, samples, batch)
                values = samples[..., : batch.end].reshape(-1, len(self._metrics), batch.end)
                found.append(values[: len(places)].cpu().numpy().copy())
        return found

    def _move(self, places: list[Place]) -> None:
        _one_thread()
        self._network.move(places + places[-1:] * (self.points_per_pass - len(places)))

    def _batches(self, split: Split) -> list[Batch]:
        return list(batches(len(split), self.plan.batch_size))

    def _fill(self, split: Split, samples: Tensor, parts: list[Batch]) -> None:
        """Per-sample values of some batches of a split."""
        if self._pool is None:
            for batch in parts:
                self._run(split, samples, batch)
        else:
            running = [self._pool.submit(self._run, split, samples, batch) for batch in parts]
            wait(running)  # all of them: after an error none may touch the next point's values
            for batch_run in running:
                batch_run.result()

    @torch.inference_mode()  # a mode of the thread, so every lane enters it
    def _run(self, split: Split, samples: Tensor, batch: Batch) -> None:
        inputs, targets = split.batch(batch.begin, batch.end, self.plan.dtype)
        forward = self._idle.get()
        try:
            outputs = self.plan.forward(forward, inputs)
        finally:
            self._idle.put(forward)
        old = batch.fresh - batch.begin
        for row, metric in enumerate(self._metrics):
            samples[..., row, batch.fresh : batch.end] = metric(outputs, targets)[..., old:]


def _one_thread() -> None:
    """See `Plan`; every computing thread must say so itself, a new one begins with all cores."""
    torch.set_num_threads(1)


def _moving(problem: Problem, plane: Plane, plan: Plan, device: torch.device) -> MovingNetwork:
    """The network in the plan's form, and the data on the device."""
    plane = plane.to(device, plan.dtype)
    splits = placed(list(problem.splits.values()), device)
    if plan.network == "plain":
        return PlainNetwork(problem.build_model, plane, splits)
    model = problem.build_model().to(device, plan.dtype).requires_grad_(False)
    form = StackedNetwork if plan.points_per_pass > 1 else FusedNetwork
    return form(model, plane, plan, splits)

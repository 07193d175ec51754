"""Values of grid points: the network moved there, run over all data, averaged."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossgrid.data import Collated
from lossgrid.errors import DroppedError
from lossgrid.evaluate.averaging import ErrorsOfDraws, averaged
from lossgrid.evaluate.batches import Batch, Member, batches, shared
from lossgrid.evaluate.networks import (
    Forward,
    FusedNetwork,
    MovingNetwork,
    PlainNetwork,
    built,
)
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.stacking import StackedNetwork
from lossgrid.evaluate.statistics import RecomputedStatistics
from lossgrid.evaluate.streaming import ALONE, placed
from lossgrid.job import DATA_ERROR, of_draws
from lossgrid.problem import Problem
from lossgrid.problem.losses import PerSample
from lossgrid.shortage import shortage_named
from lossgrid.space import Grid, Place, Plane

LOOK_SECONDS = 0.1
"""How often it is asked, while batches run, whether their points are still wanted."""


Part = list[list[NDArray[np.float64]]]
"""Of each pass and split, the values of some samples: shape (..., metrics, samples)."""


def never() -> bool:
    """Of points that are wanted whatever happens: whether they are unwanted."""
    return False


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
        recorded: `recorded` of another rank's evaluator of the same plan; None to record the
            network here.
        member: whom this rank shares points and GPU with; changes no value.

    Raises:
        OutOfMemoryError: here and from every method that computes.
        Exception: of any kind, if the plan asks for a fused network and this one can't be.
    """

    @shortage_named()
    def __init__(
        self,
        problem: Problem,
        plane: Plane,
        grid: Grid,
        plan: Plan,
        device: torch.device,
        lanes: int = 1,
        recorded: bytes | None = None,
        member: Member = ALONE,
    ) -> None:
        names = list(problem.metrics)
        self.columns_of_place = tuple(
            f"{split}_{column}"
            for split in problem.splits
            for column in [*names, *([DATA_ERROR] if split in problem.sampled else [])]
        )
        self._error_columns = [
            self.columns_of_place.index(f"{split}_{DATA_ERROR}")
            for split in problem.splits
            if split in problem.sampled
        ]
        self.columns = of_draws(self.columns_of_place, grid.draws)
        self.points_per_pass = plan.points_per_pass
        self.plan = plan
        self._grid = grid
        metrics = list(problem.metrics.values())
        self._network = _moving(problem, plane, plan, device, recorded, member)
        self._splits = self._network.splits
        self._losses = [
            names.index("loss") if s in problem.sampled else None for s in problem.splits
        ]
        if isinstance(self._network, StackedNetwork):
            self._measures = self._network.measures
        else:
            self._measures = [partial(_measure, metrics)] * len(self._splits)
        shape = [plan.points_per_pass] if plan.points_per_pass > 1 else []
        self._samples = [
            torch.empty(*shape, len(metrics), len(split), dtype=torch.float64, device=device)
            for split in self._splits
        ]
        self._idle: SimpleQueue[Forward] = SimpleQueue()
        forwards = self._network.lanes(lanes)
        for forward in forwards:
            self._idle.put(forward)
        width = len(forwards)
        self._pool = ThreadPoolExecutor(width, initializer=_one_thread) if width > 1 else None

    def recorded(self) -> bytes:
        """What recording the network has shown, for another rank: it need not do so again.

        Raises:
            Exception: of any kind, if the network holds something that can't be sent.
        """
        return pickle.dumps(self._network.recorded)

    def __call__(
        self, points: NDArray[np.int64], unwanted: Callable[[], bool] = never
    ) -> NDArray[np.float64]:
        """Values of grid points: float64, shape (n, len(columns)).

        Args:
            points: flat indices.
            unwanted: asked between batches; once it is true the points are dropped.

        Raises:
            DroppedError: they have been.
        """
        values, errors = [], self._errors()
        for places in self._passes(points):
            values.append(self.at(places, unwanted))
            errors.add(self._samples, len(places))
        return self._of_points(values, errors)

    @shortage_named()
    def part(
        self,
        points: NDArray[np.int64],
        place: int,
        count: int,
        unwanted: Callable[[], bool] = never,
    ) -> Part:
        """What the `place`-th of `count` evaluators computes, where they share the samples.

        Args:
            points: flat indices.
            place: from 0 on.
            count: at least 1.
            unwanted: see `__call__`.

        Raises:
            DroppedError: see `__call__`.
        """
        with torch.inference_mode():
            found = []
            for places in self._passes(points):
                self._move(places)
                for number, some in enumerate(self._shared(place, count)):
                    self._fill(number, some, unwanted)
                rows = self._rows(place, count)
                found.append([values.cpu().numpy().copy() for values in rows])
            return found

    @shortage_named()
    def joined(self, points: NDArray[np.int64], parts: Sequence[Part]) -> NDArray[np.float64]:
        """What `__call__` returns, to the bit, out of all parts in their order."""
        values, errors = [], self._errors()
        with torch.inference_mode():
            for number, places in enumerate(self._passes(points)):
                for place, part in enumerate(parts):
                    rows = self._rows(place, len(parts))
                    for own, found in zip(rows, part[number], strict=True):
                        own.copy_(torch.from_numpy(found))
                values.append(self._means(len(places)))
                errors.add(self._samples, len(places))
        return self._of_points(values, errors)

    def share_of_work(self, count: int) -> float:
        """How much of the work of a point has the one of `count` evaluators that has most."""
        batches = [
            sum(map(len, self._shared(place, count))) / sum(map(len, self._shared(0, 1)))
            for place in range(count)
        ]
        return max(batches)

    def _passes(self, points: NDArray[np.int64]) -> list[list[Place]]:
        """The places of grid points, cut into passes."""
        width = self.points_per_pass
        places = [place for point in points for place in self._grid.places(int(point))]
        return [places[i : i + width] for i in range(0, len(places), width)]

    def _errors(self) -> ErrorsOfDraws:
        several = self._grid.draws > 1
        return ErrorsOfDraws(self._losses if several else [], self._grid.draws)

    def _of_points(
        self, passes: list[NDArray[np.float64]], errors: ErrorsOfDraws
    ) -> NDArray[np.float64]:
        """Values of grid points, out of those of their places."""
        values = np.concatenate(passes)
        if self._grid.draws == 1:
            return values
        draws = values.reshape(-1, self._grid.draws, values.shape[1]).swapaxes(0, 1)
        with np.errstate(invalid="ignore"):  # infinity on one line, minus infinity on another
            # One after the other: bits depend on no shape.
            means = np.asarray(sum(draws) / len(draws))
        means[:, self._error_columns] = errors.found
        return np.concatenate([means, *draws], axis=1)

    def _shared(self, place: int, count: int) -> list[Sequence[Batch]]:
        return shared([self._batches(n) for n in range(len(self._splits))], place, count)

    def _rows(self, place: int, count: int) -> list[Tensor]:
        """Of each split, where the values of one evaluator's samples are."""
        return [
            samples[..., some[0].fresh : some[-1].end] if some else samples[..., :0]
            for samples, some in zip(self._samples, self._shared(place, count), strict=True)
        ]

    @shortage_named()
    def at(self, places: list[Place], unwanted: Callable[[], bool] = never) -> NDArray[np.float64]:
        """Values at up to `points_per_pass` places: shape (n, len(columns_of_place)), float64.

        Raises:
            DroppedError: see `__call__`.
        """
        with torch.inference_mode():
            self._move(places)
            for number in range(len(self._splits)):
                self._fill(number, self._batches(number), unwanted)
            return self._means(len(places))

    @shortage_named()
    def move(self, place: Place) -> None:
        """Go to a place, to look at some samples there."""
        with torch.inference_mode():
            self._move([place])

    @shortage_named()
    def samples(
        self, number: int, begin: int, end: int, unwanted: Callable[[], bool] = never
    ) -> NDArray[np.float64]:
        """Values of some samples of a split at the place moved to, with one point a pass.

        Args:
            number: of the split.
            begin, end: of whole batches; the last may end with the split.
            unwanted: see `__call__`.

        Returns: float64, shape (metrics, end - begin).

        Raises:
            DroppedError: see `__call__`.
        """
        some = [batch for batch in self._batches(number) if begin <= batch.fresh < end]
        with torch.inference_mode():
            self._fill(number, some, unwanted)
            return self._samples[number][:, begin:end].cpu().numpy().copy()

    @shortage_named()
    def first_batch(self, places: list[Place]) -> list[NDArray[np.float64]]:
        """Per-sample values of each split's first batch: shapes (n, metrics, samples)."""
        found = []
        with torch.inference_mode():
            self._move(places)
            for number, samples in enumerate(self._samples):
                batch = self._batches(number)[0]
                self._run(number, batch)
                values = samples[..., : batch.end].reshape(-1, samples.shape[-2], batch.end)
                found.append(values[: len(places)].cpu().numpy().copy())
        return found

    def _move(self, places: list[Place]) -> None:
        _one_thread()
        self._network.move(places + places[-1:] * (self.points_per_pass - len(places)))

    def _batches(self, number: int) -> list[Batch]:
        return list(batches(len(self._splits[number]), self.plan.batch_size))

    def _means(self, count: int) -> NDArray[np.float64]:
        """Of the samples' values at the first places of a pass: see `at`."""
        rows = torch.cat(list(map(averaged, self._samples, self._losses)), dim=-1)
        return rows.reshape(-1, len(self.columns_of_place))[:count].cpu().numpy()

    def _fill(self, number: int, parts: Sequence[Batch], unwanted: Callable[[], bool]) -> None:
        """Per-sample values of some batches of a split."""
        if self._pool is None:
            for batch in parts:
                if unwanted():
                    raise DroppedError
                self._run(number, batch)
            return
        running = [self._pool.submit(self._run, number, batch) for batch in parts]
        dropped = False
        # All of them are waited for: after an error none may touch the next point's values.
        while waiting := wait(running, LOOK_SECONDS).not_done:
            if unwanted():
                dropped = True
                for batch_run in waiting:
                    batch_run.cancel()
        if dropped:
            raise DroppedError
        for batch_run in running:
            batch_run.result()

    @torch.inference_mode()  # a mode of the thread, so every lane enters it
    def _run(self, number: int, batch: Batch) -> None:
        samples = self._samples[number]
        inputs, targets = self._splits[number].batch(batch.begin, batch.end, self.plan.dtype)
        forward = self._idle.get()
        try:
            outputs = self.plan.forward(forward, inputs)
        finally:
            self._idle.put(forward)
        old = batch.fresh - batch.begin
        for row, values in enumerate(self._measures[number](outputs, targets)):
            samples[..., row, batch.fresh : batch.end] = values[..., old:]


def _one_thread() -> None:
    """See `Plan`; every computing thread must say so itself, a new one begins with all cores."""
    torch.set_num_threads(1)


def _measure(metrics: Sequence[PerSample], outputs: Any, targets: Any) -> Iterator[Tensor]:
    return (metric(outputs, targets) for metric in metrics)


def _moving(
    problem: Problem,
    plane: Plane,
    plan: Plan,
    device: torch.device,
    recorded: bytes | None,
    member: Member,
) -> MovingNetwork:
    """The network in the plan's form, and the data on the device."""
    plane = plane.to(device, plan.dtype)
    splits = placed(list(problem.splits.values()), device, plan.batch_size, member)
    known = None if recorded is None else pickle.loads(recorded)
    statistics = None
    if problem.recompute is not None:
        model = built(problem.build_model, device, plan.dtype)
        source = list(problem.splits).index("train") if "train" in problem.splits else 0
        statistics = RecomputedStatistics(model, splits[source], problem.recompute, plan)
    if plan.network == "plain":
        return PlainNetwork(problem.build_model, plane, splits, statistics, known)
    if any(isinstance(split, Collated) for split in splits):
        raise ValueError("batches that a collate function makes may each have a shape of its own")
    if plane.layout.is_complex:
        raise ValueError("complex weights move only in the network as it is")
    if plan.points_per_pass == 1:
        return FusedNetwork(problem.build_model, plane, plan, splits, statistics, known)
    model = built(problem.build_model, device, plan.dtype)
    return StackedNetwork(model, plane, plan, splits, list(problem.metrics.values()), known)

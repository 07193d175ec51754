"""Values of grid points to a stated accuracy, from as few samples as that takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lossgrid.evaluate.estimate import (
    OFFSET,
    Estimate,
    Floats,
    Known,
    combined,
    estimate,
    exact,
    rungs,
)
from lossgrid.evaluate.evaluator import GridEvaluator, never
from lossgrid.job import DATA_ERROR
from lossgrid.lattice import level_of, predictors, strides
from lossgrid.problem import Problem
from lossgrid.shortage import shortage_named
from lossgrid.space import Grid

SHARE = 0.7
"""Of the tolerance that a lattice leaves to the next coarser one."""


class Memory(Protocol):
    """What is known at points that finer lattices build upon, on whatever rank that was found."""

    def keep(self, point: int, splits: Sequence[Known]) -> None:
        """Store what is known of each split at a point."""

    def recall(self, point: int) -> list[Known] | None:
        """What is known at a point of a coarser lattice; none if it failed."""


class AdaptiveEvaluator:
    """Estimates of means over all samples, with their standard errors.

    The loss decides how many samples a point uses; all metrics are estimated from them. A point of
    a coarser lattice is estimated more accurately, as its error is passed on. Those of the coarsest
    use all samples: so a few that carry the loss are not missed by all points alike.

    Args:
        evaluator: of one point a pass.
        grid: coordinates.
        problem: whose samples are in random order, and the loss among whose metrics.
        tolerance: standard error that the loss may have, relative to the loss + `OFFSET`.
        memory: shared by all ranks.
    """

    points_per_pass = 1

    def __init__(
        self,
        evaluator: GridEvaluator,
        grid: Grid,
        problem: Problem,
        tolerance: float,
        memory: Memory,
    ) -> None:
        metrics = list(problem.metrics)
        self.columns = tuple(
            f"{split}_{column}"
            for split in problem.splits
            for column in [
                *metrics,
                *(f"{metric}_sem" for metric in metrics),
                "samples",
                *([DATA_ERROR] if split in problem.sampled else []),
            ]
        )
        self._evaluator = evaluator
        self._grid = grid
        self._loss = metrics.index("loss")
        self._tolerance = tolerance
        self._memory = memory
        batch = evaluator.plan.batch_size
        self._steps = [rungs(len(split), batch) for split in problem.splits.values()]
        self._sampled = [split in problem.sampled for split in problem.splits]

    @shortage_named()
    def __call__(
        self, points: NDArray[np.int64], unwanted: Callable[[], bool] = never
    ) -> NDArray[np.float64]:
        """Values of grid points: float64, shape (n, len(columns)).

        See `GridEvaluator.__call__`.
        """
        return np.array([self._at(point, unwanted) for point in points.tolist()])

    def _at(self, point: int, unwanted: Callable[[], bool]) -> list[float]:
        """A point's row; what is known there is kept for finer lattices."""
        level = level_of(*self._grid.shape, point)
        recall = cache(self._memory.recall)
        self._evaluator.move(self._grid.at(point))
        finer = len(strides(*self._grid.shape)) - 1 - level
        tolerance = self._tolerance * SHARE**finer
        row: list[float] = []
        kept = []
        for number, steps in enumerate(self._steps):
            read = partial(self._evaluator.samples, number, unwanted=unwanted)
            controls = self._controls(point, number, recall)
            allowed = steps if level else steps[-1:]
            found, values = sampled(read, controls, allowed, self._loss, tolerance)
            row += [*found.mean, *found.error, values.shape[1]]
            if self._sampled[number]:
                row.append(_data_error(values[self._loss], steps[-1]))
            kept.append(Known(found.mean, values, found.influence))
        self._memory.keep(point, kept)
        return row

    def _controls(
        self, point: int, split: int, recall: Callable[[int], list[Known] | None]
    ) -> Iterator[Known]:
        """What predicts a split's samples at a point: weighted sums of points that are known."""
        for points, weights in predictors(*self._grid.shape, point):
            known = [one[split] for one in map(recall, points.tolist()) if one is not None]
            control = combined(known, weights) if len(known) == len(points) else None
            if control is not None:
                yield control


def _data_error(values: Floats, samples: int) -> float:
    """What the standard error of a mean of so many samples is, by some of them, shape (n,)."""
    return float(values.std(ddof=1)) / math.sqrt(samples) if values.size > 1 else math.nan


def sampled(
    read: Callable[[int, int], Floats],
    controls: Iterable[Known],
    steps: Sequence[int],
    metric: int,
    tolerance: float,
) -> tuple[Estimate, Floats]:
    """Use more and more samples until an estimate is accurate enough.

    A control is given up for the next where it would take more samples than it is known on.

    Args:
        read: values of samples [begin, end), shape (metrics, end - begin).
        controls: see `estimate`; the best first. At last there is none.
        steps: see `rungs`.
        metric: the one that decides.
        tolerance: standard error that it may have, relative to its mean + `OFFSET`.

    Returns: the estimate, and the values of the samples used, shape (metrics, n). One that is not
        finite makes all samples be used.
    """
    population = steps[-1]
    values = read(0, steps[0])
    for control in chain(controls, [None]):
        known = population if control is None else control.values.shape[1]
        most = min(known, population - 1)
        while values.shape[1] <= most and np.isfinite(values).all():
            found = estimate(values, control, steps)
            target = tolerance * (abs(found.mean[metric]) + OFFSET)
            if found.error[metric] <= target:
                return found, values
            count = _enough(found, metric, target, values.shape[1], steps)
            if count > most:
                break
            values = np.concatenate([values, read(values.shape[1], count)], axis=1)
    if values.shape[1] < population:
        values = np.concatenate([values, read(values.shape[1], population)], axis=1)
    return exact(values), values


def _enough(found: Estimate, metric: int, target: float, used: int, steps: Sequence[int]) -> int:
    """How many samples should do: all, if the control's own error is too large."""
    population = steps[-1]
    room = target**2 - (found.error[metric] ** 2 - found.own[metric])
    if room <= 0:
        return population
    each = found.own[metric] / (1 / used - 1 / population)
    needed = 1 / (room / each + 1 / population)
    return next(step for step in steps if step > used and step >= min(needed, population))

"""Values of grid points to a stated accuracy, from as few samples as that takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
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
from lossgrid.evaluate.evaluator import GridEvaluator
from lossgrid.evaluate.memory import shortage_named
from lossgrid.job import DATA_ERROR
from lossgrid.lattice import level_of, parents, strides
from lossgrid.problem import Problem
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
    def __call__(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values of grid points: float64, shape (n, len(columns))."""
        return np.array([self._at(point) for point in points.tolist()])

    def _at(self, point: int) -> list[float]:
        """A point's row; what is known there is kept for finer lattices."""
        level = level_of(*self._grid.shape, point)
        controls = self._controls(point, level)
        self._evaluator.move(self._grid.at(point))
        finer = len(strides(*self._grid.shape)) - 1 - level
        tolerance = self._tolerance * SHARE**finer
        row: list[float] = []
        kept = []
        for number, (steps, control) in enumerate(zip(self._steps, controls, strict=True)):
            read = partial(self._evaluator.samples, number)
            allowed = steps if level else steps[-1:]
            found, values = sampled(read, control, allowed, self._loss, tolerance)
            row += [*found.mean, *found.error, values.shape[1]]
            if self._sampled[number]:
                row.append(_data_error(values[self._loss], steps[-1]))
            kept.append(Known(found.mean, values, found.influence))
        self._memory.keep(point, kept)
        return row

    def _controls(self, point: int, level: int) -> list[Known | None]:
        """For each split the weighted sum of the point's parents, if all of them are known."""
        shape = self._grid.shape
        if level == 0:
            return [None] * len(self._steps)
        points, weights = parents(*shape, point)
        known = [self._memory.recall(parent) for parent in points.tolist()]
        if any(one is None for one in known):
            return [None] * len(self._steps)
        return [combined(of_split, weights) for of_split in zip(*known, strict=True)]


def _data_error(values: Floats, samples: int) -> float:
    """What the standard error of a mean of so many samples is, by some of them, shape (n,)."""
    return float(values.std(ddof=1)) / math.sqrt(samples) if values.size > 1 else math.nan


def sampled(
    read: Callable[[int, int], Floats],
    control: Known | None,
    steps: Sequence[int],
    metric: int,
    tolerance: float,
) -> tuple[Estimate, Floats]:
    """Use more and more samples until an estimate is accurate enough.

    Args:
        read: values of samples [begin, end), shape (metrics, end - begin).
        control: see `estimate`.
        steps: see `rungs`.
        metric: the one that decides.
        tolerance: standard error that it may have, relative to its mean + `OFFSET`.

    Returns: the estimate, and the values of the samples used, shape (metrics, n). One that is not
        finite makes all samples be used.
    """
    values = read(0, steps[0])
    while values.shape[1] < steps[-1]:
        count = steps[-1]
        if np.isfinite(values).all():
            known = control if control and control.values.shape[1] >= values.shape[1] else None
            found = estimate(values, known, steps)
            target = tolerance * (abs(found.mean[metric]) + OFFSET)
            if found.error[metric] <= target:
                return found, values
            count = _enough(found, metric, target, values.shape[1], steps)
        values = np.concatenate([values, read(values.shape[1], count)], axis=1)
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

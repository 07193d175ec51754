"""Everything that a rank needs before it can compute."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lossgrid.curvature import CurvatureEvaluator
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.worker import Evaluator
from lossgrid.engine.world import World
from lossgrid.errors import DroppedError, OutOfMemoryError, UserError, summary
from lossgrid.evaluate import (
    AdaptiveEvaluator,
    Checked,
    GridEvaluator,
    Plan,
)
from lossgrid.evaluate.device import keep_memory
from lossgrid.job import Job
from lossgrid.problem import load_checkpoint
from lossgrid.run import precision
from lossgrid.run.choose import choose
from lossgrid.run.fingerprint import plan_parts
from lossgrid.run.load import Loaded, free_memory, load
from lossgrid.space import (
    Grid,
    Place,
    Plane,
)
from lossgrid.store.samples import SampleFile, samples_path

T = TypeVar("T")

KEPT = 0.5
"""Of free memory that may be taken to compute curvature faster."""


@dataclass(frozen=True)
class Prepared:
    """What one rank has of a job, how points are evaluated, and what does that.

    Attributes:
        loaded: the job's parts.
        checked: the plan.
        whole: computes all samples of points.
        evaluator: of grid points: that, that and curvature, or some of the samples.
        bending: computes curvature, if that is asked for.
        samples: what it keeps for finer lattices, if it does; to be opened for each stage.
    """

    loaded: Loaded
    checked: Checked
    whole: GridEvaluator
    evaluator: Evaluator
    bending: CurvatureEvaluator | None
    samples: SampleFile | None

    @property
    def plan(self) -> Plan:
        """How points are evaluated."""
        return self.checked.plan

    @property
    def plane(self) -> Plane:
        """Theta and directions."""
        return self.loaded.plane

    @property
    def grid(self) -> Grid:
        """Coordinates."""
        return self.loaded.grid

    @property
    def fingerprint(self) -> dict[str, str]:
        """What the job is made of, its plan included."""
        return self.loaded.fingerprint | plan_parts(self.plan)

    def measure_theta(self) -> tuple[dict[str, float], float]:
        """Values of all columns at theta itself, and the seconds that this took.

        Raises:
            OutOfMemoryError: memory does not suffice.
            UserError: the network can't be evaluated even there.
        """
        began = time.perf_counter()
        try:
            (values,) = self.whole.at([(0.0, 0.0)])
        except OutOfMemoryError:
            raise
        except Exception as error:
            raise UserError(
                f"model, loss or metrics fail at theta itself: {summary(error)}; "
                "mend them or the data"
            ) from error
        columns = self.whole.columns_of_place
        found = dict(zip(columns, values.tolist(), strict=True))
        return found, time.perf_counter() - began

    def try_checkpoint(
        self, path: Path, stopping: StopRequest, smallest: bool
    ) -> list[float] | str | None:
        """Values of all columns with all of a checkpoint's weights: see `_tried`.

        Args:
            path: of the checkpoint, which need not lie in the plane.
            stopping: whether a signal has asked to.
            smallest: whether no smaller plan can follow.
        """
        try:
            return _tried(lambda: self._at_checkpoint(path, stopping.overdue).tolist(), smallest)
        finally:
            gc.collect()  # the evaluator, whose graphs hold themselves

    def try_probe(
        self, place: Place, probe: int, stopping: StopRequest, smallest: bool
    ) -> dict[str, NDArray[np.float64]] | str | None:
        """What a probe of the spectrum finds of each split: see `_tried`.

        Args:
            place: of the plane.
            probe: its number.
            stopping: whether a signal has asked to.
            smallest: whether no smaller plan can follow.
        """
        bending = self.bending
        assert bending is not None
        return _tried(lambda: bending.quadrature(place, probe, stopping.overdue), smallest)

    def _at_checkpoint(self, path: Path, unwanted: Callable[[], bool]) -> NDArray[np.float64]:
        loaded, plane = self.loaded, self.plane
        model = loaded.problem.build_model()
        load_checkpoint(model, path)
        corners = torch.zeros_like(plane.corners)
        plane.layout.write(plane.layout.state(model), corners[0])
        problem = replace(loaded.problem, build_model=lambda: copy.deepcopy(model))
        there = replace(loaded, problem=problem, plane=replace(plane, corners=corners))
        evaluator = there.evaluator(self.plan, self.checked.recorded[self.plan])
        values: NDArray[np.float64]
        (values,) = evaluator.at([(0.0, 0.0)], unwanted)
        return values

    def again(
        self, points: NDArray[np.int64], stopping: StopRequest, smallest: bool
    ) -> NDArray[np.float64]:
        """Values of points in float32, until a signal asks to stop: shape (at most n, columns).

        Args:
            points: flat indices.
            stopping: whether a signal has asked to.
            smallest: whether no smaller plan can follow: NaN then stands for want of memory.

        Raises:
            OutOfMemoryError: a smaller plan may do.
        """
        width = len(self.whole.columns)
        if points.size == 0 or stopping():
            return np.empty((0, width))
        exact = self.plan.exact
        try:
            evaluator = self.loaded.evaluator(exact, self.checked.recorded[exact])
            return precision.again(evaluator, points, width, stopping)
        except OutOfMemoryError:
            if not smallest:
                raise
            return np.full((points.size, width), np.nan)


def _tried(work: Callable[[], T], smallest: bool) -> T | str | None:
    """What work comes to, why nothing came of it, or None where a signal has it dropped.

    Args:
        work: may fail.
        smallest: whether no smaller plan can follow.

    Raises:
        OutOfMemoryError: one may do.
    """
    try:
        return work()
    except DroppedError:
        return None
    except OutOfMemoryError as error:
        if not smallest:
            raise
        return summary(error)
    except Exception as error:  # a user's code may fail anywhere
        return summary(error)


def prepare(job: Job, world: World, stored: Plan | None = None) -> Prepared:
    """All steps at once (`load`, `choose`, `equip`), for a rank that needs nobody else's word."""
    loaded = load(job, world)
    return equip(job, loaded, choose(job, loaded, stored, free_memory(loaded)))


def equip(job: Job, loaded: Loaded, checked: Checked) -> Prepared:
    """Make what evaluates points as has been chosen, on every rank."""
    whole = loaded.evaluator(checked.plan, checked.recorded[checked.plan])
    keep_memory(loaded.device)
    problem, grid = loaded.problem, loaded.grid
    if job.curvature is not None:
        room = int(KEPT * free_memory(loaded))
        bending = CurvatureEvaluator(
            whole, problem, loaded.plane, grid, job.curvature, loaded.device, loaded.lanes, room
        )
        adds = bending.columns != whole.columns  # or several points a pass may do
        return Prepared(loaded, checked, whole, bending if adds else whole, bending, None)
    if job.evaluation.tolerance is None:
        return Prepared(loaded, checked, whole, whole, None, None)
    sizes = [(len(problem.metrics), len(split)) for split in problem.splits.values()]
    samples = SampleFile(samples_path(job.output), grid.shape, sizes)
    some = AdaptiveEvaluator(whole, grid, problem, job.evaluation.tolerance, samples)
    return Prepared(loaded, checked, whole, some, None, samples)

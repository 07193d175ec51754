"""Everything that a rank needs before it can compute."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lossgrid import precision
from lossgrid.engine.worker import Evaluator
from lossgrid.engine.world import World
from lossgrid.errors import UserError, summary
from lossgrid.evaluate import AdaptiveEvaluator, Checked, GridEvaluator, Plan, check, choose_plan
from lossgrid.evaluate.device import lanes, own_device
from lossgrid.evaluate.tuning import Tuned, candidates, shortened, tune
from lossgrid.fingerprint import fingerprint
from lossgrid.job import EvaluationSpec, Job
from lossgrid.problem import Problem, load_problem, shuffled
from lossgrid.space import Grid, Plane, build_plane
from lossgrid.store.samples import SampleFile, samples_path


@dataclass(frozen=True)
class Prepared:
    """One rank's problem, plane and evaluator, and what they were made of.

    Attributes:
        evaluator: of grid points.
        samples: what it keeps for finer lattices, if it does; to be opened for each stage.
        evaluator_of: makes what computes all samples of points by a plan.
    """

    problem: Problem
    plane: Plane
    grid: Grid
    checked: Checked
    fingerprint: dict[str, str]
    evaluator: Evaluator
    samples: SampleFile | None
    evaluator_of: Callable[[Plan], GridEvaluator]

    @property
    def plan(self) -> Plan:
        """How points are evaluated."""
        return self.checked.plan

    def measure_theta(self) -> tuple[dict[str, float], float]:
        """Values of all columns at theta itself, and the seconds that this took.

        Raises:
            UserError: the network can't be evaluated even there.
        """
        began = time.perf_counter()
        try:
            (values,) = self.checked.evaluator.at([(0.0, 0.0)])
        except Exception as error:
            raise UserError(
                f"model, loss or metrics fail at theta itself: {summary(error)}; "
                "mend them or the data"
            ) from error
        columns = self.checked.evaluator.columns
        found = dict(zip(columns, values.tolist(), strict=True))
        return found, time.perf_counter() - began

    def again(self, points: NDArray[np.int64], stopping: Callable[[], bool]) -> NDArray[np.float64]:
        """Values of points in float32, until a signal asks to stop: shape (at most n, columns)."""
        if points.size == 0 or stopping():
            return np.empty((0, len(self.evaluator.columns)))
        evaluator = self.evaluator_of(self.plan.exact)
        return precision.again(evaluator, points, len(evaluator.columns), stopping)


def prepare(job: Job, world: World, stored: Plan | None = None) -> Prepared:
    """Load the job's parts and choose how points are evaluated.

    Args:
        job: what to compute.
        world: the rank's place among the others, which decides its device and cores.
        stored: the plan of the results file that is to be continued, or a measured one; what the
            job file leaves open is taken from it.

    Raises:
        UserError: a part can't be loaded or does not fit.
    """
    problem = load_problem(job)
    if job.evaluation.tolerance is not None:
        splits = {name: shuffled(split) for name, split in problem.splits.items()}
        problem = replace(problem, splits=splits)
    model = problem.build_model()
    plane = build_plane(job, model)
    grid = Grid.of(job.grid)
    evaluation = job.evaluation if stored is None else _pinned(job.evaluation, stored)
    device = _device(job, world)
    plan = choose_plan(evaluation, problem, device)

    def evaluator_of(plan: Plan) -> GridEvaluator:
        width = lanes(device, world.cores)
        return GridEvaluator(problem, plane, grid, plan, device, width)

    checked = check(plan, grid, evaluator_of)
    made_of = fingerprint(job, model, problem, plane, grid, checked.plan)
    evaluator: Evaluator = checked.evaluator
    samples = None
    if job.evaluation.tolerance is not None:
        sizes = [(len(problem.metrics), len(split)) for split in problem.splits.values()]
        samples = SampleFile(samples_path(job.output), grid.shape, sizes)
        evaluator = AdaptiveEvaluator(
            checked.evaluator, grid, problem, job.evaluation.tolerance, samples
        )
    return Prepared(problem, plane, grid, checked, made_of, evaluator, samples, evaluator_of)


def measure(job: Job, world: World, ranks: int) -> Tuned:
    """The fastest plan of those near the rule's, as this process measures them.

    Args:
        job: what to compute.
        world: see `prepare`.
        ranks: that will share the work; short runs are not worth measuring for.

    Raises:
        UserError: see `prepare`.
    """
    problem = load_problem(job)
    plane = build_plane(job, problem.build_model())
    grid = Grid.of(job.grid)
    device = _device(job, world)
    width = lanes(device, world.cores)
    plan = choose_plan(job.evaluation, problem, device)
    plans = candidates(job.evaluation, plan, problem)
    some = shortened(problem, width * 2 * max(one.batch_size for one in plans))

    def evaluator_of(plan: Plan) -> GridEvaluator:
        return GridEvaluator(some, plane, grid, plan, device, width)

    samples, measured = (sum(map(len, one.splits.values())) for one in (problem, some))
    work = grid.shape[0] * grid.shape[1] / ranks * samples / measured
    return tune(plans, evaluator_of, grid, work)


def _device(job: Job, world: World) -> torch.device:
    share = job.runtime.share_gpus
    return own_device(job.evaluation.device, world.local_rank, world.local_size, share)


def _pinned(spec: EvaluationSpec, plan: Plan) -> EvaluationSpec:
    """What the job leaves open is as in a plan."""
    free = [
        key for key in ("batch_size", "points_per_pass", "network") if getattr(spec, key) == "auto"
    ]
    return spec.model_copy(update={key: getattr(plan, key) for key in free})

"""Everything that a rank needs before it can compute."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from lossgrid.engine.world import World
from lossgrid.errors import UserError, summary
from lossgrid.evaluate import Checked, GridEvaluator, Plan, check, choose_plan
from lossgrid.evaluate.device import lanes, own_device
from lossgrid.fingerprint import fingerprint
from lossgrid.job import Job
from lossgrid.problem import Problem, load_problem
from lossgrid.space import Grid, Plane, build_plane


@dataclass(frozen=True)
class Prepared:
    """One rank's problem, plane and evaluator, and what they were made of."""

    problem: Problem
    plane: Plane
    grid: Grid
    checked: Checked
    fingerprint: dict[str, str]

    @property
    def plan(self) -> Plan:
        """How points are evaluated."""
        return self.checked.plan

    @property
    def evaluator(self) -> GridEvaluator:
        """What evaluates them."""
        return self.checked.evaluator

    def measure_theta(self) -> tuple[dict[str, float], float]:
        """Values of all columns at theta itself, and the seconds that this took.

        Raises:
            UserError: the network can't be evaluated even there.
        """
        began = time.perf_counter()
        try:
            (values,) = self.evaluator.at([(0.0, 0.0)])
        except Exception as error:
            raise UserError(
                f"model, loss or metrics fail at theta itself: {summary(error)}; "
                "mend them or the data"
            ) from error
        found = dict(zip(self.evaluator.columns, values.tolist(), strict=True))
        return found, time.perf_counter() - began


def prepare(job: Job, world: World, stored: Plan | None = None) -> Prepared:
    """Load the job's parts and choose how points are evaluated.

    Args:
        job: what to compute.
        world: the rank's place among the others, which decides its device and cores.
        stored: the plan of the results file that is to be continued; what the job file leaves
            open is taken from it.

    Raises:
        UserError: a part can't be loaded or does not fit.
    """
    problem = load_problem(job)
    model = problem.build_model()
    plane = build_plane(job, model)
    grid = Grid.of(job.grid)
    evaluation = job.evaluation
    if stored is not None and evaluation.batch_size == "auto":
        evaluation = evaluation.model_copy(update={"batch_size": stored.batch_size})
    share = job.runtime.share_gpus
    device = own_device(evaluation.device, world.local_rank, world.local_size, share)
    plan = choose_plan(evaluation, problem, device)
    if stored is not None:
        plan = replace(plan, network=stored.network, points_per_pass=stored.points_per_pass)

    def evaluator_of(plan: Plan) -> GridEvaluator:
        width = lanes(device, world.cores)
        return GridEvaluator(problem, plane, grid, plan, device, width)

    checked = check(plan, grid, evaluator_of)
    made_of = fingerprint(job, model, problem, plane, grid, checked.plan)
    return Prepared(problem, plane, grid, checked, made_of)

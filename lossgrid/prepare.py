"""Everything that a rank needs before it can compute."""

from __future__ import annotations

from dataclasses import dataclass

from lossgrid.engine.world import World
from lossgrid.evaluate import GridEvaluator, Plan, choose_plan
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
    plan: Plan
    evaluator: GridEvaluator
    fingerprint: dict[str, str]


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
    plan = choose_plan(evaluation, problem)
    device = own_device(plan, world.local_rank, world.local_size, job.runtime.share_gpus)
    evaluator = GridEvaluator(problem, plane, grid, plan, device, lanes(plan, world.cores))
    made_of = fingerprint(job, model, problem, plane, grid, plan)
    return Prepared(problem, plane, grid, plan, evaluator, made_of)

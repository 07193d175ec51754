"""How points are evaluated: chosen on one rank for all."""

from __future__ import annotations

import gc
from dataclasses import replace

from lossgrid.curvature import vectors_bytes
from lossgrid.errors import OutOfMemoryError, UserError
from lossgrid.evaluate import (
    Checked,
    Plan,
    check,
    choose_plan,
    fitted,
    needed,
    smaller,
)
from lossgrid.evaluate.device import keep_memory
from lossgrid.evaluate.tuning import Tuned, candidates, shortened, tune
from lossgrid.evaluate.widths import widths
from lossgrid.job import EvaluationSpec, Job
from lossgrid.run.load import Loaded


def choose(job: Job, loaded: Loaded, stored: Plan | None, room: int) -> Checked:
    """Choose how points are evaluated, on one rank for all.

    Args:
        job: what to compute.
        loaded: of this rank.
        stored: the plan of the results file that is to be continued, or a measured one; what the
            job file leaves open is taken from it.
        room: `free_memory` of the rank that has least.

    Raises:
        UserError: the device can't do what is asked for, or memory is short.
    """
    evaluation = job.evaluation if stored is None else _pinned(job.evaluation, stored)
    problem, plane = loaded.problem, loaded.plane
    width = widths(problem)
    hoped = choose_plan(evaluation, problem, loaded.device, width)

    vectors = vectors_bytes(job.curvature, problem) if job.curvature else 0

    def need(plan: Plan) -> int:
        return needed(plan, problem, plane, width, loaded.lanes, room) + vectors

    plan = fitted(hoped, need, room, job.evaluation.batch_size != "auto")
    return _checked(job, loaded, plan, plan != hoped)


def choose_smaller(job: Job, loaded: Loaded, plan: Plan, shortage: str) -> Checked:
    """Choose again, on one rank for all, where memory has not sufficed for a plan.

    Args:
        job: what to compute.
        loaded: of this rank.
        plan: that can't be followed any more.
        shortage: what was said of it.

    Raises:
        UserError: there is no smaller one.
    """
    less = smaller(plan)
    reason = unshrinkable(job, plan)
    if less is None or reason is not None:
        raise UserError(
            f"{reason}: {shortage}; start fewer ranks a node, or see what else takes memory there, "
            "and run the same command again"
        )
    return _checked(job, loaded, less, True)


def unshrinkable(job: Job, plan: Plan) -> str | None:
    """Why no smaller plan can follow one; none if one can."""
    batches = f"in batches of {plan.batch_size}"
    if job.evaluation.batch_size != "auto":
        return f"{batches}, as evaluation.batch_size says (auto makes them smaller)"
    return f"{batches}, the smallest" if smaller(plan) is None else None


def _checked(job: Job, loaded: Loaded, plan: Plan, shrunk: bool) -> Checked:
    """Record and check the network by a plan, or by a smaller one if memory is too short."""
    try:
        found = check(plan, loaded.grid, replace(loaded, lanes=1).evaluator)
    except OutOfMemoryError as error:
        shortage = str(error)
    else:
        return replace(found, shrunk=shrunk)
    gc.collect()  # evaluators, whose graphs hold themselves
    return choose_smaller(job, loaded, plan, shortage)


def measure(job: Job, loaded: Loaded, ranks: int) -> Tuned:
    """The fastest plan of those near the rule's, as this process measures them.

    Args:
        job: what to compute.
        loaded: of this rank.
        ranks: that will share the work; short runs are not worth measuring for.

    Raises:
        UserError: see `choose`.
    """
    keep_memory(loaded.device)
    problem, grid = loaded.problem, loaded.grid
    plan = choose_plan(job.evaluation, problem, loaded.device)
    plans = candidates(job.evaluation, plan, problem)
    some = shortened(problem, loaded.lanes * 2 * max(one.batch_size for one in plans))
    samples, measured = (sum(map(len, one.splits.values())) for one in (problem, some))
    work = grid.shape[0] * grid.shape[1] / ranks * samples / measured
    return tune(plans, replace(loaded, problem=some).evaluator, grid, work)


def check_workers(job: Job, ranks: int) -> int:
    """How many workers so many ranks are.

    Raises:
        UserError: they can't be cut into groups.
    """
    workers, each = job.runtime.workers(ranks), job.runtime.ranks_per_worker
    if workers is None:
        computing = ranks if job.runtime.shared else ranks - 1
        raise UserError(
            f"{job.path}: runtime.ranks_per_worker: {each}, but the ranks that compute are "
            f"{computing}: start a multiple of {each}, or set another number"
        )
    return workers


def _pinned(spec: EvaluationSpec, plan: Plan) -> EvaluationSpec:
    """What the job leaves open is as in a plan."""
    free = [
        key for key in ("batch_size", "points_per_pass", "network") if getattr(spec, key) == "auto"
    ]
    return spec.model_copy(update={key: getattr(plan, key) for key in free})

"""Measuring which plan is fastest here, where a job asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import Tensor
from torch.utils._pytree import tree_map

from lossgrid.data import Split
from lossgrid.evaluate.evaluator import GridEvaluator
from lossgrid.evaluate.plan import LARGEST, SMALLEST, Plan
from lossgrid.job import EvaluationSpec
from lossgrid.problem import Problem
from lossgrid.space import Grid

SHARE = 0.02
"""Of a run's predicted time that measuring may take, at most."""

ROUNDS = 3
"""Times that each candidate is measured, in turn; its fastest counts."""

GAIN = 1.03
"""A candidate that is not so many times as fast as the rule's plan is no better."""


@dataclass(frozen=True)
class Tuned:
    """A plan, and why it was chosen."""

    plan: Plan
    reason: str


def candidates(spec: EvaluationSpec, plan: Plan, problem: Problem) -> list[Plan]:
    """A plan by rule, first, and its neighbours in what the job leaves open."""
    samples = max(len(split) for split in problem.splits.values())
    points = plan.points_per_pass
    found = [plan]

    def add(size: float, points: int, network: Literal["fused", "plain"] = plan.network) -> None:
        most = min(samples, LARGEST[plan.device])
        batch_size = max(min(int(size), most), min(SMALLEST, samples))
        if spec.batch_size != "auto":
            batch_size = plan.batch_size
        one = replace(plan, batch_size=batch_size, points_per_pass=points, network=network)
        if one not in found:
            found.append(one)

    for factor in (0.5, 2):
        add(plan.batch_size * factor, points)
    if spec.points_per_pass == "auto" and points > 1:
        add(plan.batch_size / 2, 2 * points)
        add(plan.batch_size * points, 1)
    if spec.network == "auto" and spec.points_per_pass in ("auto", 1):
        add(plan.batch_size * points, 1, "plain")
    return found


def shortened(problem: Problem, samples: int) -> Problem:
    """The same with so many samples a split at most: enough to measure with."""

    def first(leaf: Tensor) -> Tensor:
        return leaf[:samples]

    def cut(split: Split) -> Split:
        inputs, targets = (tree_map(first, tree) for tree in (split.inputs, split.targets))
        return replace(split, inputs=inputs, targets=targets)

    return replace(problem, splits={name: cut(split) for name, split in problem.splits.items()})


def tune(
    plans: list[Plan], evaluator_of: Callable[[Plan], GridEvaluator], grid: Grid, work: float
) -> Tuned:
    """Measure plans in turn on the grid's first points.

    Args:
        plans: the rule's first. One whose evaluator can't be made, or fails, is passed over.
        evaluator_of: makes the evaluator of a plan.
        grid: coordinates.
        work: points that these evaluators could compute in the time of the run.
    """
    rule = plans[0]
    began = time.perf_counter()
    passes = _passes(evaluator_of, rule, grid)
    if passes is None:
        return Tuned(rule, "by rule, as it could not be measured")
    seconds = passes()
    cost = (time.perf_counter() - began) * len(plans)
    if cost > SHARE * seconds * work:
        told = f"{cost:.2g} s, more than {SHARE:.0%} of the run"
        return Tuned(rule, f"by rule, as measuring would take {told}")
    made = {plan: _passes(evaluator_of, plan, grid) for plan in plans[1:]}
    running = {rule: passes} | {plan: run for plan, run in made.items() if run is not None}
    turns = [{plan: run() for plan, run in running.items()} for _ in range(ROUNDS)]
    return _fastest({plan: min(turn[plan] for turn in turns) for plan in running})


def _passes(
    evaluator_of: Callable[[Plan], GridEvaluator], plan: Plan, grid: Grid
) -> Callable[[], float] | None:
    """What runs a pass, and returns seconds a point; it has run once, to warm up."""
    first = np.arange(min(plan.points_per_pass, grid.shape[0] * grid.shape[1]), dtype=np.int64)
    try:
        evaluator = evaluator_of(plan)
        evaluator(first)
    except Exception:  # of any kind, from the user's code in this form
        return None

    def run() -> float:
        began = time.perf_counter()
        evaluator(first)
        return (time.perf_counter() - began) / plan.points_per_pass

    return run


def _fastest(seconds: dict[Plan, float]) -> Tuned:
    """The rule's plan, which is the first, unless another is clearly faster."""
    rule, *others = seconds
    best = min(seconds, key=seconds.__getitem__)
    gain = seconds[rule] / seconds[best]
    if gain < GAIN:
        return Tuned(rule, f"measured: none of {len(others)} others is faster than the rule's")
    than = f"{rule.form}, batches of {rule.batch_size}"
    return Tuned(best, f"measured: {gain:.2f} times as fast as the rule's ({than})")

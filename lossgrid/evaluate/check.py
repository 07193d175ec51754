"""Whether a plan's fast ways give the values of the plain one, seen on a batch at a few points."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map

from lossgrid.data import Split
from lossgrid.evaluate.evaluator import GridEvaluator
from lossgrid.evaluate.plan import Plan
from lossgrid.problem import Problem
from lossgrid.space import Grid, Plane

TOLERANCE = 1e-3
"""Relative difference of a batch's mean loss that rounding can make; other faults make larger."""


@dataclass(frozen=True)
class Checked:
    """A plan that works, and what is known of it.

    Attributes:
        plan: the one that was asked for, or its plain form.
        error: largest relative difference between the two on the points that were tried.
        objection: why it is the plain one; empty if it is not.
    """

    plan: Plan
    error: float
    objection: str


def check(plan: Plan, problem: Problem, plane: Plane, grid: Grid, device: torch.device) -> Checked:
    """Compare mean losses of the first batch of each split at theta and the grid's corners."""
    plain = replace(plan, network="plain")
    if plan == plain:
        return Checked(plain, 0.0, "")
    few = _first_batches(problem, plan)
    truth = _losses(GridEvaluator(few, plane, grid, plain, device), grid)
    try:
        evaluator = GridEvaluator(few, plane, grid, plan, device)
    except Exception as error:
        return Checked(plain, 0.0, f"{type(error).__name__}: {error}".splitlines()[0])
    apart = _apart(_losses(evaluator, grid), truth)
    if apart <= TOLERANCE:
        return Checked(plan, apart, "")
    return Checked(plain, 0.0, f"it differs by {apart:.1g} from the plain one")


def _losses(evaluator: GridEvaluator, grid: Grid) -> NDArray[np.float64]:
    """One row a place, NaN where the user's code raises, as it may far from theta."""
    found = np.full((len(_places(grid)), len(evaluator.columns)), np.nan)
    for row, place in enumerate(_places(grid)):
        with suppress(Exception):
            found[row] = evaluator.at(*place)
    return found


def _apart(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """The largest relative difference; values that are not finite must be the same."""
    same = (found == truth) | (np.isnan(found) & np.isnan(truth))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.abs(found / truth - 1)
    return float(np.where(same, 0.0, np.where(np.isnan(relative), np.inf, relative)).max())


def _places(grid: Grid) -> list[tuple[float, float]]:
    betas = [0.0] if grid.beta is None else [float(grid.beta[0]), float(grid.beta[-1])]
    return [(0.0, 0.0)] + [(float(grid.alpha[i]), beta) for i in (0, -1) for beta in betas]


def _first_batches(problem: Problem, plan: Plan) -> Problem:
    def cut(leaf: Tensor) -> Tensor:
        return leaf[: plan.batch_size]

    splits = {
        name: Split(tree_map(cut, split.inputs), tree_map(cut, split.targets), split.prepare)
        for name, split in problem.splits.items()
    }
    return replace(problem, splits=splits, metrics={"loss": problem.loss})

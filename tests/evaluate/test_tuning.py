from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.evaluate import GridEvaluator, Plan
from lossgrid.evaluate.tuning import candidates, shortened, tune
from lossgrid.job import EvaluationSpec
from tests.evaluate.test_evaluator import CPU, GRID, PLAN, plane_of, problem, samples, trained

RULE = replace(PLAN, network="fused", batch_size=100)


@given(
    batch_size=st.integers(16, 512),
    points=st.sampled_from([1, 32]),
    count=st.integers(16, 5000),
    pinned=st.dictionaries(
        st.sampled_from(["batch_size", "points_per_pass", "network"]), st.none(), max_size=3
    ),
)
def test_candidates_are_neighbours_within_what_the_job_leaves_open(
    batch_size: int, points: int, count: int, pinned: dict[str, Any]
) -> None:
    plan = replace(RULE, batch_size=min(batch_size, count), points_per_pass=points)
    spec = EvaluationSpec(**{key: getattr(plan, key) for key in pinned})
    found = candidates(spec, plan, problem(train=samples(count)))
    assert found[0] == plan
    assert len(set(found)) == len(found) <= 6
    for one in found:
        assert min(16, count) <= one.batch_size <= count
        assert one.network == "fused" or one.points_per_pass == 1
        assert all(getattr(one, key) == getattr(plan, key) for key in pinned)
    assert pinned or len(found) > 1


def test_a_shortened_problem_has_the_first_samples() -> None:
    splits = {"train": samples(21), "test": samples(5)}
    found = shortened(problem(**splits), 8).splits
    assert {name: len(split) for name, split in found.items()} == {"train": 8, "test": 5}
    assert found["train"].inputs.equal(splits["train"].inputs[:8])
    assert found["train"].targets.equal(splits["train"].targets[:8])


class Clocked:
    """Evaluators whose points take as long as the test says, on a clock of its own."""

    def __init__(self, seconds: Callable[[Plan], float]) -> None:
        self.now = 0.0
        self.made: list[Plan] = []
        self._seconds = seconds

    def __call__(self, plan: Plan) -> Any:
        self.made.append(plan)

        def evaluate(points: np.ndarray) -> np.ndarray:
            self.now += self._seconds(plan) * len(points)
            return np.zeros((len(points), 1))

        return evaluate


PLANS = [replace(RULE, batch_size=size) for size in (100, 50, 200)]


def tuned(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[Plan], float], work: float) -> Any:
    clocked = Clocked(seconds)
    monkeypatch.setattr(time, "perf_counter", lambda: clocked.now)
    return tune(PLANS, clocked, GRID, work), clocked


def test_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found, clocked = tuned(monkeypatch, lambda plan: 100 / plan.batch_size, 1e6)
    assert found.plan == PLANS[2]
    assert "2.00 times as fast as the rule's (fused network, batches of 100)" in found.reason
    assert clocked.made == PLANS


def test_a_small_gain_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = tuned(monkeypatch, lambda plan: 1 - plan.batch_size / 10000, 1e6)
    assert found.plan == PLANS[0]
    assert "none of 2 others" in found.reason


def test_a_short_run_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found, clocked = tuned(monkeypatch, lambda plan: 100 / plan.batch_size, 299)
    assert found.plan == PLANS[0]
    assert "more than 2% of the run" in found.reason
    assert clocked.made == PLANS[:1]


def test_what_fails_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def touchy(plan: Plan) -> float:
        if plan.batch_size == 200:
            raise ValueError("too large")
        return 100 / plan.batch_size if plan.batch_size == 100 else 0.1

    found, _ = tuned(monkeypatch, touchy, 1e6)
    assert found.plan == PLANS[1]
    found, _ = tuned(monkeypatch, lambda plan: 1 / 0, 1e6)
    assert found.plan == PLANS[0]


def test_real_evaluators() -> None:
    """Whichever is fastest."""
    plans = candidates(EvaluationSpec(), replace(RULE, batch_size=21), problem())

    def evaluator_of(plan: Plan) -> GridEvaluator:
        return GridEvaluator(problem(), plane_of(trained()), GRID, plan, CPU)

    assert tune(plans, evaluator_of, GRID, 1e9).plan in plans

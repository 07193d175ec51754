from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossgrid.errors import OutOfMemoryError
from lossgrid.evaluate import Checked, GridEvaluator, Plan, check
from lossgrid.evaluate.device import tf32
from lossgrid.problem import Problem
from lossgrid.space import Place
from tests.evaluate.test_evaluator import (
    CPU,
    GRID,
    PLAN,
    Network,
    dense,
    hooked,
    moody,
    plane_of,
    problem,
    trained,
)

FUSED = replace(PLAN, network="fused", precision="float32")
PLAIN = replace(FUSED, network="plain")


def with_weights(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    """Of the trained network."""

    def build() -> nn.Module:
        network = kind().eval()
        network.load_state_dict(trained().state_dict())
        return network

    return build


def checked(
    build: Callable[[], nn.Module], plan: Plan = FUSED, posed: Problem | None = None
) -> Checked:
    return check(plan, GRID, lambda form: evaluator(build, form, posed))


def evaluator(
    build: Callable[[], nn.Module],
    plan: Plan,
    posed: Problem | None = None,
    recorded: bytes | None = None,
) -> GridEvaluator:
    posed = posed or problem(build)
    return GridEvaluator(posed, plane_of(build()), GRID, plan, CPU, recorded=recorded)


@pytest.mark.parametrize("points", [1, 3])
def test_a_network_that_can_be_fused_is(points: int) -> None:
    plan = replace(FUSED, points_per_pass=points)
    found = checked(trained, plan)
    assert not found.objections
    assert found.plan == plan
    assert plan in found.recorded
    assert 0 <= found.error < 1e-5
    assert not found.objections


def test_a_plain_plan_is_not_questioned() -> None:
    found = checked(trained, PLAIN)
    assert (found.plan, found.error, found.objections) == (PLAIN, 0.0, ())


@pytest.mark.parametrize("plan", [FUSED, PLAIN, replace(FUSED, points_per_pass=3)])
def test_a_lack_of_memory_is_no_objection_to_a_form(plan: Plan) -> None:
    def greedy(outputs: Tensor, targets: Tensor) -> Tensor:
        raise OutOfMemoryError("out of memory")

    if plan == PLAIN:
        plan = replace(plan, precision="bfloat16")  # else nothing is computed
    with pytest.raises(OutOfMemoryError):
        checked(trained, plan, replace(problem(trained), metrics={"loss": greedy}))


@pytest.mark.parametrize("build", [hooked, moody])
def test_a_network_that_can_not_be_traced_stays_plain(build: Callable[[], nn.Module]) -> None:
    found = checked(build)
    assert found.plan == PLAIN
    assert len(found.objections) == 1
    assert "\n" not in found.objections[0]
    usable = evaluator(build, found.plan, recorded=found.recorded[found.plan])
    assert np.isfinite(usable(np.array([7]))).all()


def test_bfloat16_is_measured_and_no_fault() -> None:
    found = checked(trained, replace(FUSED, precision="bfloat16"))
    assert found.plan.precision == "bfloat16"
    assert 1e-5 < found.error < 0.1


def tf32_is_on() -> bool:
    return torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32


class Witness(Network):
    """Sees which arithmetic holds while it computes."""

    seen: ClassVar[list[bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tf32_is_on())
        return super().forward(x)


def test_tf32_is_compared_at_float32_and_on_only_while_the_network_computes() -> None:
    """The switches alone: CPUs don't heed them."""
    with tf32():
        assert tf32_is_on()
    found = checked(with_weights(Witness), replace(PLAIN, precision="tf32"))
    assert found.plan.precision == "tf32"
    places = len(Witness.seen) // 2
    assert Witness.seen[:places] == [False] * places
    assert Witness.seen.count(True) == places  # and not while it is recorded
    Witness.seen.clear()
    usable = evaluator(with_weights(Witness), found.plan, recorded=found.recorded[found.plan])
    usable(np.array([3]))
    assert all(Witness.seen)
    assert not tf32_is_on()


def test_tf32_ends_with_a_failure() -> None:
    with pytest.raises(ValueError, match="mine"), tf32():
        raise ValueError("mine")
    assert not tf32_is_on()


class Counts(Network):
    """Returns something else at every second call, which a trace can't know."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 + self.calls % 2)


class Fills(Network):
    """Writes something of its weights into memory that has room for one point."""

    def forward(self, x: Tensor) -> Tensor:
        shift = torch.zeros(1).add_(1e-3 * self.out.weight.sum())
        return super().forward(x) + shift


@pytest.mark.parametrize("points", [1, 3])
def test_a_network_whose_trace_gives_other_values_stays_plain(points: int) -> None:
    found = checked(with_weights(Counts), replace(FUSED, points_per_pass=points))
    assert found.plan == PLAIN
    assert len(found.objections) == (2 if points > 1 else 1)
    assert "differ" in found.objections[-1]


def test_a_network_that_can_not_take_several_points_takes_one() -> None:
    found = checked(with_weights(Fills), replace(FUSED, points_per_pass=3))
    assert found.plan == FUSED
    assert found.objections[0].startswith("fused network, 3 points a pass: ")


class Shuffles(GridEvaluator):
    """Gives a point other bits in another place of its pass."""

    def first_batch(self, places: list[Place]) -> list[NDArray[np.float64]]:
        found = super().first_batch(places)
        for values in found:
            values[1:] = np.nextafter(values[1:], np.inf)
        return found


def test_bits_that_depend_on_the_place_in_a_pass_are_refused() -> None:
    plan = replace(FUSED, points_per_pass=2)

    def evaluator_of(form: Plan) -> GridEvaluator:
        return Shuffles(problem(), plane_of(trained()), GRID, form, CPU)

    found = check(plan, GRID, evaluator_of)
    assert found.plan == FUSED
    assert "place in the pass" in found.objections[0]


def halved(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.sum(dim=1) / 2


def test_every_metric_counts() -> None:
    """The loss alone would not show it."""
    calls = []

    def fickle(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(outputs)
        return halved(outputs, targets) * len(calls)

    posed = replace(problem(), metrics={"loss": halved, "other": fickle})
    assert checked(trained, posed=posed).plan == PLAIN


def test_one_infinite_sample_excuses_no_other() -> None:
    def touchy(outputs: Tensor, targets: Tensor) -> Tensor:
        values = outputs.square().mean(dim=1)
        return values.index_fill(0, torch.tensor([0]), torch.inf)

    posed = replace(problem(with_weights(Counts)), metrics={"loss": touchy})
    assert checked(with_weights(Counts), posed=posed).plan == PLAIN


def test_a_loss_that_raises_in_low_precision_is_left_to_the_run() -> None:
    calls = []

    def touchy(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(float(outputs.sum()))
        if len(calls) > 18:  # past the exact forms
            raise ValueError("too coarse")
        return outputs.square().mean(dim=1)

    posed = replace(problem(), metrics={"loss": touchy})
    found = checked(trained, replace(FUSED, precision="bfloat16"), posed)
    assert found.plan.precision == "bfloat16"


class Overflows(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.inf


def test_values_that_are_not_finite_are_no_difference() -> None:
    assert checked(with_weights(Overflows)).plan == FUSED


def test_a_network_that_fails_is_left_to_fail_plainly() -> None:
    assert checked(dense, posed=problem(dense)).plan == PLAIN


def test_a_loss_that_raises_far_from_theta_is_no_objection() -> None:
    def touchy(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.abs().max() > 2:
            raise ValueError("too far out")
        return outputs.square().mean(dim=1)

    posed = replace(problem(), metrics={"loss": touchy})
    assert checked(trained, posed=posed).plan == FUSED

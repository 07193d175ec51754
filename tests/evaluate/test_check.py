from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossgrid.evaluate import Checked, GridEvaluator, check
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
    remembering,
    trained,
)

FUSED = replace(PLAN, network="fused", precision="float32")
PLAIN = replace(FUSED, network="plain")


def checked(build: Callable[[], nn.Module]) -> Checked:
    return check(FUSED, problem(build), plane_of(build()), GRID, CPU)


def test_a_network_that_can_be_fused_is() -> None:
    found = checked(trained)
    assert found.plan == FUSED
    assert 0 <= found.error < 1e-5
    assert not found.objection


def test_a_plain_plan_is_not_questioned() -> None:
    assert check(PLAIN, problem(), plane_of(trained()), GRID, CPU) == Checked(PLAIN, 0.0, "")


@pytest.mark.parametrize("build", [hooked, moody, remembering])
def test_a_network_that_can_not_be_traced_stays_plain(build: Callable[[], nn.Module]) -> None:
    found = checked(build)
    assert found.plan == PLAIN
    assert found.objection
    assert "\n" not in found.objection
    values = GridEvaluator(problem(build), plane_of(build()), GRID, found.plan, CPU, 2)
    assert np.isfinite(values(np.array([7]))).all()


class Counts(Network):
    """Returns something else at every second call, which a trace can't know."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 + self.calls % 2)


def counts() -> nn.Module:
    return Counts().eval()


class Alias(Network):
    """Adds in place to what it reads again by another name; a trace adds out of place."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        same = x
        x += 1
        return super().forward(x + same)


@pytest.mark.parametrize("build", [counts, lambda: Alias().eval()])
def test_a_network_whose_trace_gives_other_values_stays_plain(
    build: Callable[[], nn.Module],
) -> None:
    found = checked(build)
    assert found.plan == PLAIN
    assert "differs" in found.objection


class Overflows(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.inf


def test_values_that_are_not_finite_are_no_difference() -> None:
    assert checked(lambda: Overflows().eval()).plan == FUSED


def test_a_network_that_fails_is_left_to_fail_plainly() -> None:
    assert check(FUSED, problem(dense), plane_of(dense()), GRID, CPU).plan == PLAIN


def test_a_loss_that_raises_far_from_theta_is_no_objection() -> None:
    def touchy(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.abs().max() > 2:
            raise ValueError("too far out")
        return outputs.square().mean(dim=1)

    posed = replace(problem(), loss=touchy)
    assert check(FUSED, posed, plane_of(trained()), GRID, CPU).plan == FUSED

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lossgrid.curvature.derivatives import Derivatives
from lossgrid.data import Split
from lossgrid.errors import DroppedError
from lossgrid.problem import Problem
from lossgrid.problem.losses import mse
from lossgrid.space import Layout, Plane
from tests.curvature.small import (
    CPU,
    PLAN,
    derivatives,
    exact_hessian,
    flat_weights,
    mean_loss,
    plane,
    problem,
    trained,
)

PLACE = (0.1, -0.05)


@pytest.mark.parametrize("network", ["plain", "fused"])
def test_products_are_those_of_the_exact_hessian(network: Any) -> None:
    found = derivatives(replace(PLAN, network=network))
    found.move(PLACE)
    exact = exact_hessian(*PLACE)
    assert exact.abs().max() > 0.1
    columns = [found.product("train", unit) for unit in torch.eye(found.size).double()]
    torch.testing.assert_close(torch.stack(columns, dim=1), exact, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_the_definition() -> None:
    found = derivatives()
    found.move(PLACE)
    flat = flat_weights(*PLACE).requires_grad_()
    (exact,) = torch.autograd.grad(mean_loss(*PLACE, flat), flat)
    torch.testing.assert_close(found.gradient("train"), exact, rtol=1e-10, atol=1e-14)


def test_slopes_are_finite_differences_of_the_surface() -> None:
    found = derivatives()
    found.move(PLACE)
    gradient = found.gradient("train")
    step = 1e-5
    for direction, (da, db) in zip(found.directions, [(step, 0.0), (0.0, step)], strict=True):
        ahead = mean_loss(PLACE[0] + da, PLACE[1] + db)
        behind = mean_loss(PLACE[0] - da, PLACE[1] - db)
        slope = float(ahead - behind) / (2 * step)
        assert float(gradient @ direction) == pytest.approx(slope, rel=1e-6)


def test_slopes_between_checkpoints_are_towards_them() -> None:
    apart = plane()
    corners = apart.corners.clone()
    corners[1:] += corners[0]  # theta' = theta + d1: the same plane
    between = Plane(apart.layout, corners, True, apart.directions)
    both = Derivatives(problem(), between, PLAN, CPU, 1, ["train"])
    for ours, theirs in zip(both.directions, derivatives().directions, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("network", ["plain", "fused"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_lanes_change_no_bit(precision: str, network: Any) -> None:
    plan = replace(PLAN, precision=precision, batch_size=4, network=network)
    alone, together = derivatives(plan, 1), derivatives(plan, 3)
    vector = alone.drawn(0, 0, "test")
    for one in (alone, together):
        one.move(PLACE)
    for split in ("train", "test"):
        assert torch.equal(alone.gradient(split), together.gradient(split))
        assert torch.equal(alone.product(split, vector), together.product(split, vector))


@pytest.mark.parametrize("network", ["plain", "fused"])
@pytest.mark.parametrize("kept", [1, 3, 100])
def test_what_is_kept_changes_no_bit(network: Any, kept: int) -> None:
    plan = replace(PLAN, precision="float32", batch_size=4, network=network)
    again, keeping = derivatives(plan), derivatives(plan)
    again.try_batch("train")
    keeping.room = 1 << 30
    keeping.try_batch("train")
    keeping.most_kept = min(keeping.most_kept, kept)
    assert again.most_kept == 0 < keeping.most_kept
    for place in (PLACE, (0.0, 0.3)):
        for one in (again, keeping):
            one.move(place)
        for number in range(3):
            vector = again.drawn(0, number, "test")
            for split in ("train", "train", "test"):
                ours, theirs = (one.product(split, vector) for one in (keeping, again))
                assert torch.equal(ours, theirs)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_fused_network_is_differentiated_as_the_plain_one(precision: str) -> None:
    plan = replace(PLAN, precision=precision)
    plain, fused = derivatives(plan), derivatives(replace(plan, network="fused"))
    assert fused.is_folded
    assert not plain.is_folded
    vector = plain.drawn(0, 0, "test")
    for one in (plain, fused):
        one.move(PLACE)
    within = 1e-5 if precision == "float32" else 1e-12
    for ours, theirs in (
        (fused.gradient("train"), plain.gradient("train")),
        (fused.product("train", vector), plain.product("train", vector)),
    ):
        assert float((ours - theirs).norm()) < within * float(theirs.norm())


class Rounding(torch.autograd.Function):
    """With a derivative of its own, which no recording has."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> Any:
        return slope


class Quantized(nn.Module):
    """Its weights take part rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rounded = Rounding.apply(self.weight)  # type: ignore[no-untyped-call]
        return torch.tanh(x @ rounded.T)


def test_a_derivative_that_the_network_defines_is_kept() -> None:
    layout = Layout([("weight", "weight", torch.Size([3, 4]))])
    theta = Quantized().weight.detach().reshape(-1).double()
    corners = torch.stack([theta, torch.ones(12).double()])
    split = Split(torch.randn(8, 4), torch.zeros(8, 3))
    own = Problem(lambda: Quantized().eval(), {"train": split}, mse, {})
    found = Derivatives(
        own, Plane(layout, corners, False, {}), replace(PLAN, network="fused"), CPU, 1, ["train"]
    )
    found.move((0.0, 0.0))
    assert not found.is_folded
    assert float(found.gradient("train").norm()) > 0.1


def test_float32_is_near_float64() -> None:
    low, high = derivatives(replace(PLAN, precision="float32")), derivatives()
    vector = high.drawn(0, 0, "test")
    for one in (low, high):
        one.move(PLACE)
    ours, exact = low.product("train", vector), high.product("train", vector)
    assert float((ours - exact).norm() / exact.norm()) < 1e-5


def test_frozen_parameters_count_only_if_they_move() -> None:
    def frozen() -> nn.Module:
        network = trained()
        network.conv.requires_grad_(False)  # moves
        network.bn.requires_grad_(False)  # stays
        return network

    everything = sum(p.numel() for p in trained().parameters())
    norm = sum(p.numel() for p in trained().bn.parameters())
    kept = sum(p.numel() for p in trained().conv.parameters() if p.dim() == 1)
    found = Derivatives(replace(problem(), build_model=frozen), plane(), PLAN, CPU, 1, ["train"])
    assert found.size == everything - norm - kept


def test_a_loss_that_is_linear_in_the_weights_has_no_curvature() -> None:
    model = nn.Linear(3, 1, bias=False)
    layout = Layout([("weight", "weight", model.weight.shape)])
    corners = torch.stack([model.weight.detach().reshape(-1), torch.ones(3)]).double()
    split = Split(torch.ones(4, 3), torch.zeros(4, 1))
    linear = Problem(lambda: nn.Linear(3, 1, bias=False), {"train": split}, _first, {})
    found = Derivatives(linear, Plane(layout, corners, False, {}), PLAN, CPU, 1, ["train"])
    found.move((0.0, 0.0))
    assert found.product("train", torch.ones(3).double()).tolist() == [0, 0, 0]
    assert found.gradient("train").tolist() == [1, 1, 1]
    curved = replace(linear, loss=mse)
    other = Derivatives(curved, Plane(layout, corners, False, {}), PLAN, CPU, 1, ["train"])
    other.move((0.0, 0.0))
    assert other.product("train", torch.ones(3).double()).tolist() == [6, 6, 6]


def _first(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return outputs[:, 0]


@pytest.mark.parametrize("lanes", [1, 3])
def test_what_is_unwanted_is_dropped_between_batches(lanes: int) -> None:
    found = derivatives(lanes=lanes)
    asked: list[bool] = []

    def unwanted() -> bool:
        asked.append(True)
        return len(asked) > 1

    found.move(PLACE, unwanted)
    with pytest.raises(DroppedError):
        found.gradient("train")
    found.move(PLACE)
    assert torch.equal(found.gradient("train"), gradient_of_a_new_one())


def gradient_of_a_new_one() -> torch.Tensor:
    new = derivatives()
    new.move(PLACE)
    return new.gradient("train")

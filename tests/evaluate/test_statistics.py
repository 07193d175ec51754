from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lossgrid.evaluate.evaluator import GridEvaluator
from lossgrid.evaluate.plan import Plan
from lossgrid.job import BatchNormSpec
from lossgrid.problem.batchnorm import choose_statistics
from tests.evaluate.test_evaluator import CPU, GRID, plane_of, problem, samples, trained

PLAN = Plan("cpu", "any", torch.__version__, "float64", 6, "plain")
FORMS = ["plain", "fused"]
TRAIN = samples(24)
TEST = samples(7)


class Deep(nn.Module):
    """Two BatchNorms in a row, one that is called twice, one that is not, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.first, self.second, self.unused = (nn.BatchNorm2d(4) for _ in range(3))
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(self.conv(x)))
        x = F.relu(self.second(self.middle(x)))
        x = self.second(self.middle(x))
        return self.out(self.dropout(x.mean(dim=(2, 3))))


def deep() -> nn.Module:
    torch.manual_seed(0)
    network = Deep()
    for norm in (network.first, network.second, network.unused):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return network.eval()


def by_batches(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def built() -> nn.Module:
        network = build()
        choose_statistics(network, BatchNormSpec.model_construct(mode="train"))
        return network

    return built


def at(build: Callable[[], nn.Module], alpha: float, beta: float) -> nn.Module:
    network = build().double()
    x, y = plane_of(build()).directions.values()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name in x:
                tensor.add_(alpha * x[name] + beta * y[name])
    return network


def loss_of(network: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    with torch.no_grad():
        return F.cross_entropy(network(inputs), targets).item()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("build", [trained, deep])
def test_recomputed_statistics_are_those_of_torch(
    build: Callable[[], nn.Module], form: str
) -> None:
    posed = replace(problem(build, test=TEST, train=TRAIN), recompute=3)
    plan = replace(PLAN, network=form)
    found = GridEvaluator(posed, plane_of(build()), GRID, plan, CPU)(np.arange(20))
    for point in (0, 7, 19):
        network = at(build, *GRID.at(point))
        before = copy.deepcopy(network.state_dict())
        dropouts = [m for m in network.modules() if isinstance(m, nn.Dropout)]
        for dropout in dropouts:
            dropout.p = 0.0
        update_bn([TRAIN.inputs[begin : begin + 6] for begin in (0, 6, 12)], network)
        for name in before:  # torch forgets those of a layer that is never called
            if name.startswith("unused"):
                network.state_dict()[name].copy_(before[name])
        network.eval()
        wanted = [loss_of(network, s.inputs, s.targets) for s in (TEST, TRAIN)]
        np.testing.assert_allclose(found[point, [0, 2]], wanted, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_recomputed_values_depend_neither_on_order_nor_on_lanes(form: str) -> None:
    posed = replace(problem(deep, train=TRAIN), recompute=2)
    plan = replace(PLAN, network=form, precision="float32")
    points = np.arange(20)

    def evaluator(lanes: int) -> GridEvaluator:
        return GridEvaluator(posed, plane_of(deep()), GRID, plan, CPU, lanes)

    alone = evaluator(1)(points)
    assert evaluator(3)(points[::-1])[::-1].tobytes() == alone.tobytes()
    assert evaluator(1)(points[7:8]).tobytes() == alone[7:8].tobytes()


def test_statistics_recover_where_they_were_not_finite() -> None:
    """A point with infinite activations must not spoil the next."""
    huge = replace(GRID, alpha=np.array([-1.7e308, 0.5, 1.0, 2.0, 3.0]))
    posed = replace(problem(deep, train=TRAIN), recompute=2)
    after = GridEvaluator(posed, plane_of(deep()), huge, PLAN, CPU)
    assert np.isnan(after(np.array([0]))[0, 0])
    fresh = GridEvaluator(posed, plane_of(deep()), huge, PLAN, CPU)
    assert after(np.array([1])).tobytes() == fresh(np.array([1])).tobytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("build", [trained, deep])
def test_in_train_mode_a_batch_is_normalized_by_itself(
    build: Callable[[], nn.Module], form: str
) -> None:
    posed = problem(by_batches(build), train=TRAIN)
    plan = replace(PLAN, network=form)
    found = GridEvaluator(posed, plane_of(build()), GRID, plan, CPU, lanes=2)(np.arange(20))
    for point in (0, 7, 19):
        network = at(build, *GRID.at(point))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        wanted = np.mean(
            [
                loss_of(network, TRAIN.inputs[begin : begin + 6], TRAIN.targets[begin : begin + 6])
                for begin in range(0, 24, 6)
            ]
        )
        np.testing.assert_allclose(found[point, 0], wanted, rtol=1e-12)


def dense() -> nn.Module:
    torch.manual_seed(2)
    layers = [nn.Flatten(), nn.Linear(36, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 3)]
    return nn.Sequential(*layers).eval()


def test_in_train_mode_several_points_go_through_at_a_time() -> None:
    posed = problem(by_batches(dense), train=TRAIN)
    points = np.arange(20)

    def values(plan: Plan) -> np.ndarray:
        return GridEvaluator(posed, plane_of(dense()), GRID, plan, CPU)(points)

    several = values(replace(PLAN, network="fused", points_per_pass=6))
    np.testing.assert_allclose(several, values(PLAN), rtol=1e-10)


def test_the_landscape_is_the_same_with_batchnorm_folded_away() -> None:
    """In eval mode a BatchNorm is part of the layer before it."""
    network = trained()

    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.utils.fuse_conv_bn_eval(network.conv, network.bn)
            self.out = network.out

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(self.conv(x)).mean(dim=(2, 3)))

    def folded() -> nn.Module:
        return copy.deepcopy(Folded().eval())

    points = np.arange(20)
    values = [
        GridEvaluator(problem(build, train=TRAIN), plane_of(build()), GRID, PLAN, CPU)(points)
        for build in (trained, folded)
    ]
    scaled = [plane_of(build()).directions["x"]["conv.weight"] for build in (trained, folded)]
    norms = [d.flatten(1).norm(dim=1) for d in scaled]
    assert not torch.allclose(norms[0], norms[1])  # filter by filter another size, the same points
    np.testing.assert_allclose(values[0], values[1], rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_as_it_was(form: str) -> None:
    network = by_batches(deep)()
    before = copy.deepcopy(network.state_dict())
    posed = problem(lambda: network, train=TRAIN)
    plan = replace(PLAN, network=form)
    GridEvaluator(posed, plane_of(deep()), GRID, plan, CPU)(np.arange(3))
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name].to(buffer.dtype))

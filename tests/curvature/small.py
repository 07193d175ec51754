"""A network of fewer than 2,000 parameters, and its exact Hessian."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossgrid.curvature.derivatives import Derivatives
from lossgrid.data import Split
from lossgrid.evaluate.plan import Plan
from lossgrid.problem import Problem
from lossgrid.problem.losses import accuracy, cross_entropy
from lossgrid.space import Grid, Layout, Plane
from lossgrid.space.directions import random_direction

CPU = torch.device("cpu")
PLAN = Plan("cpu", "any", torch.__version__, "float64", 8, "plain")
GRID = Grid(np.linspace(-1, 1, 5), np.linspace(-0.5, 1, 4))


class Network(nn.Module):
    """With a convolution, BatchNorm away from its defaults, ReLU, Tanh and an unused parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, 5)
        self.out = nn.Linear(5, 3)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.relu(self.bn(self.conv(x))).mean(dim=(2, 3))
        return self.out(torch.tanh(self.hidden(pooled)))


def trained() -> Network:
    torch.manual_seed(0)
    network = Network()
    with torch.no_grad():
        network.bn.running_mean.normal_()
        network.bn.running_var.uniform_(0.5, 2)
    return network.eval()


def samples(count: int = 21, seed: int = 1) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 6, 6, generator=generator, dtype=torch.float64)
    return Split(images, torch.randint(3, (count,), generator=generator))


def problem() -> Problem:
    metrics = {"loss": cross_entropy, "accuracy": accuracy}
    splits = {"train": samples(), "test": samples(10, 2)}
    return Problem(trained, splits, cross_entropy, metrics)


def plane() -> Plane:
    """Along all weights with two dimensions or more; biases and BatchNorm stay."""
    moving = [(n, "weight", p.shape) for n, p in trained().named_parameters() if p.dim() > 1]
    layout = Layout(moving)  # type: ignore[arg-type]
    theta = {name: tensor.detach().double() for name, tensor in trained().named_parameters()}
    drawn = [random_direction(layout, 0, axis) for axis in "xy"]
    corners = [layout.flatten(corner, torch.float64) for corner in (theta, *drawn)]
    return Plane(layout, torch.stack(corners), False, dict(zip("xy", drawn, strict=True)))


def derivatives(plan: Plan = PLAN, lanes: int = 1) -> Derivatives:
    return Derivatives(problem(), plane(), plan, CPU, lanes, ["train", "test"])


def mean_loss(alpha: float, beta: float, flat: Tensor | None = None) -> Tensor:
    """By its definition in one pass, at theta(alpha, beta) or at a flat vector of parameters."""
    network = trained().double()
    x, y = plane().directions.values()
    weights = {
        name: p.detach() + (alpha * x[name] + beta * y[name] if name in x else 0)
        for name, p in network.named_parameters()
    }
    if flat is not None:
        parts = torch.split(flat, [weight.numel() for weight in weights.values()])
        pairs = zip(weights.items(), parts, strict=True)
        weights = {name: part.view(weight.shape) for (name, weight), part in pairs}
    split = samples()
    outputs = torch.func.functional_call(network, weights, (split.inputs,))
    return F.cross_entropy(outputs, split.targets)


def flat_weights(alpha: float, beta: float) -> Tensor:
    x, y = plane().directions.values()
    return torch.cat(
        [
            (p.detach().double() + (alpha * x[n] + beta * y[n] if n in x else 0)).reshape(-1)
            for n, p in trained().named_parameters()
        ]
    )


def exact_hessian(alpha: float, beta: float) -> Tensor:
    found = torch.autograd.functional.hessian(
        lambda flat: mean_loss(alpha, beta, flat), flat_weights(alpha, beta)
    )
    assert isinstance(found, Tensor)
    return found

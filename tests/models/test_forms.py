"""Every network is computed in the fast form, which has the values of the plain one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from lossgrid import models
from lossgrid.data import Split
from lossgrid.evaluate import GridEvaluator, Plan, check
from lossgrid.models.densenet import DenseNet
from lossgrid.models.resnet import BasicBlock, Bottleneck, ResNet
from lossgrid.space import Grid
from tests.evaluate.test_evaluator import CPU, plane_of, problem

PLAN = Plan("cpu", "any", torch.__version__, "float32", 2, "fused")
LINE = Grid(np.array([0.0, 0.25]), None)


def trained(model: nn.Module) -> nn.Module:
    """With BatchNorm statistics, scales and shifts that matter."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(std=0.1)  # type: ignore[union-attr]
    return model.eval()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg9": models.vgg9,
    "resnet20": lambda: models.resnet20("A"),
    "resnet56 with projections": lambda: models.resnet56("B"),
    "resnet110 without shortcuts": lambda: models.resnet110("none"),
    "wide": lambda: models.resnet20("B", width=2),
    "wide without shortcuts": lambda: models.resnet20("none", width=2),
    "resnet18, narrow": lambda: ResNet(BasicBlock, [2, 2, 2, 2], 8, "B", 10),
    "resnet34 without shortcuts, narrow": lambda: ResNet(BasicBlock, [3, 4, 6, 3], 8, "none", 10),
    "resnet50, narrow": lambda: ResNet(Bottleneck, [3, 4, 6, 3], 8, "B", 10),
    "resnet50 without shortcuts, narrow": lambda: ResNet(Bottleneck, [3, 4, 6, 3], 8, "none", 10),
    "densenet121, narrow": lambda: DenseNet([6, 12, 24, 16], 4, 10),
}


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_is_computed_in_the_fast_form(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = trained(build())
    images = torch.randn(3, 3, 32, 32)
    posed = problem(lambda: copy.deepcopy(model), test=Split(images, torch.arange(3)))
    plane = plane_of(model)
    found = check(PLAN, LINE, lambda plan: GridEvaluator(posed, plane, LINE, plan, CPU))
    assert found.plan == PLAN, found.objections
    assert found.error < 1e-5

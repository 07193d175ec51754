from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lossgrid.errors import UserError
from lossgrid.job import BatchNormSpec
from lossgrid.problem.batchnorm import batch_norms, choose_statistics


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4),
        nn.Dropout(0.5),
        nn.BatchNorm1d(4, track_running_stats=False),
        nn.InstanceNorm1d(4, track_running_stats=True),
    ).eval()


def spec(mode: str) -> BatchNormSpec:
    return BatchNormSpec.model_construct(mode=mode)


def test_those_with_running_statistics() -> None:
    assert list(batch_norms(network())) == ["1"]


def test_train_mode_changes_no_statistics_and_drops_nothing() -> None:
    model = network()[:3]
    choose_statistics(model, spec("train"))
    before = copy.deepcopy(model.state_dict())
    inputs = torch.randn(5, 3)
    first, second = model(inputs), model(inputs)
    assert torch.equal(first, second)
    assert first.mean(dim=0).abs().max() < 1e-6
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("mode", ["eval", "recompute"])
def test_other_modes_leave_the_model_in_eval_mode(mode: str) -> None:
    model = network()
    choose_statistics(model, spec(mode))
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("mode", ["train", "recompute"])
def test_a_model_without_batchnorm_is_refused(mode: str) -> None:
    with pytest.raises(UserError, match=f"mode: {mode}: the model has no BatchNorm"):
        choose_statistics(nn.Linear(2, 2), spec(mode))

from __future__ import annotations

import pytest
import torch
from torch import nn

from lossgrid.models.initial import initialize


def test_weights_have_the_spread_of_the_paper() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.Linear(400, 300))
    initialize(network)
    convolution, _, linear = network.requires_grad_(False)
    assert float(convolution.weight.std()) == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.02)
    assert float(linear.weight.std()) == pytest.approx(1e-3, rel=0.02)
    assert not convolution.bias.any()
    assert not linear.bias.any()

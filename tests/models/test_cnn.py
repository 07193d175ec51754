from __future__ import annotations

import torch
from torch import nn

from lossgrid.models import digits_cnn


def test_is_small_and_has_batchnorm() -> None:
    model = digits_cnn().eval()
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert sum(weight.numel() for weight in model.parameters()) == 3842
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())

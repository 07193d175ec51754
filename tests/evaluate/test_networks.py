from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lossgrid.evaluate.networks import built
from lossgrid.job import DirectionsSpec
from lossgrid.space.layout import Layout


class Scaled(nn.Module):
    """Two modules that share a buffer and a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
        self.two.weight = self.one.weight
        self.one.register_buffer("scale", torch.ones(2))
        self.two.register_buffer("scale", self.one.scale)
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) * self.one.scale + self.two(x) * self.two.scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_tied_stays_tied_and_moves_as_one(dtype: torch.dtype) -> None:
    model = built(Scaled, torch.device("cpu"), dtype)
    assert model.two.scale is model.one.scale
    assert model.two.weight is model.one.weight
    assert model.one.scale.dtype == dtype
    assert model.count.dtype == torch.int64
    assert not any(parameter.requires_grad for parameter in model.parameters())
    layout = Layout.of(Scaled(), DirectionsSpec(include="state", ignore=[]))
    flat = layout.flatten(dict(model.named_parameters()), dtype)
    layout.bind(model, flat)
    layout.views(flat)["one.scale"].fill_(2.0)
    assert (model.two.scale == 2).all()

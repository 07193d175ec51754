from __future__ import annotations

import torch
from torch import nn

from lossgrid.data import digits as digits_split
from lossgrid.models import digits_cnn
from lossgrid.train import digits


def trained(drawn_before: int) -> nn.Module:
    torch.manual_seed(0)
    model = digits_cnn()
    torch.rand(drawn_before)  # moves the global generator, which must not matter
    digits(model)
    return model


def test_reaches_96_percent_and_repeats_itself() -> None:
    model, again = trained(drawn_before=0), trained(drawn_before=5)
    assert not model.training
    split = digits_split(train=False)
    images, labels = split.prepared(split.inputs, split.targets, torch.float32)
    with torch.no_grad():
        hits = model(images).argmax(dim=1) == labels
    assert hits.double().mean() >= 0.96
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name

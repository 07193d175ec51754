from __future__ import annotations

import torch
from torch import nn

from lossgrid.data import digits as digits_split
from lossgrid.models import digits_cnn
from lossgrid.train import digits


def trained(threads: int) -> nn.Module:
    torch.manual_seed(0)
    model = digits_cnn()
    torch.rand(threads)  # moves the global generator, which must not matter
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        digits(model)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    return model


def test_reaches_96_percent_and_repeats_itself() -> None:
    model, again = trained(threads=1), trained(threads=3)
    assert not model.training
    split = digits_split(train=False)
    images, labels = split.batch(0, len(split), torch.float32)
    with torch.no_grad():
        hits = model(images).argmax(dim=1) == labels
    assert hits.double().mean() >= 0.96
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name

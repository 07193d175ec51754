"""A network that counts its forward passes in a file, to know what a crash cost."""

from __future__ import annotations

import os

from torch import Tensor, nn

from lossgrid.models import digits_cnn


class Counted(nn.Module):
    """`network`, which adds a byte to the file COUNTED at every forward pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        handle = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b".")
        os.close(handle)
        return self.network(images)


def model() -> nn.Module:
    return Counted(digits_cnn())


def train(model: Counted) -> None:
    from lossgrid.train import digits

    digits(model.network)

"""A network that counts its forward passes in a file, to know what a crash cost."""

from __future__ import annotations

import os

from torch import nn

from lossgrid.models import digits_cnn


def model() -> nn.Module:
    """The digits network, which adds a byte to the file COUNTED after every forward pass.

    A hook does so: it keeps the network as it is, where a trace would run other code only once.
    """
    network = digits_cnn()
    network.register_forward_hook(count)
    return network


def count(network: nn.Module, inputs: object, outputs: object) -> None:
    handle = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, b".")
    os.close(handle)


def train(network: nn.Module) -> None:
    from lossgrid.train import digits

    digits(network)

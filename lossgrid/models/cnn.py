"""A small convolutional network for 8 x 8 handwritten digits."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def digits_cnn() -> nn.Module:
    """Two convolutions with BatchNorm, then one linear layer; 3,842 parameters.

    Inputs have shape (n, 1, 8, 8), outputs are logits of shape (n, 10).
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 8, kernel_size=3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(8),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 16, kernel_size=3, stride=2, padding=1, bias=False),
            bn2=nn.BatchNorm2d(16),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            linear=nn.Linear(16 * 4 * 4, 10),
        )
    )

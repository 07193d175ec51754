"""DenseNet-121 of Huang et al. 2017, "Densely Connected Convolutional Networks", for CIFAR.

Parameters carry the names of the reference code of Li et al. (arXiv 1712.09913),
github.com/tomgoldstein/loss-landscape.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lossgrid.models.initial import initialize


class DenseLayer(nn.Module):
    """Appends ``growth`` channels, made of all that were there before."""

    def __init__(self, inplanes: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inplanes)
        self.conv1 = nn.Conv2d(inplanes, 4 * growth, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inplanes, h, w) to (n, growth + inplanes, h, w), the new channels first."""
        out = self.conv1(self.bn1(x).relu())
        out = self.conv2(self.bn2(out).relu())
        return torch.cat([out, x], dim=1)


def _transition(inplanes: int, planes: int) -> nn.Sequential:
    """Fewer channels, and half the height and width."""
    return nn.Sequential(
        OrderedDict(
            bn=nn.BatchNorm2d(inplanes),
            relu=nn.ReLU(),
            conv=nn.Conv2d(inplanes, planes, kernel_size=1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )


class DenseNet(nn.Sequential):
    """A convolution, blocks of dense layers with transitions between, and a linear layer.

    Inputs have shape (n, 3, h, w), outputs are logits of shape (n, num_classes).

    Args:
        blocks: how many layers each has.
        growth: channels that a layer appends; the first convolution has twice as many.
        num_classes: of the linear layer.
    """

    def __init__(self, blocks: Sequence[int], growth: int, num_classes: int) -> None:
        planes = 2 * growth
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(3, planes, kernel_size=3, padding=1, bias=False)
        )
        for number, count in enumerate(blocks, start=1):
            if number > 1:
                layers[f"trans{number - 1}"] = _transition(planes, planes // 2)
                planes //= 2
            layers[f"dense{number}"] = nn.Sequential(
                *(DenseLayer(planes + growth * before, growth) for before in range(count))
            )
            planes += growth * count
        layers["bn"] = nn.BatchNorm2d(planes)
        layers["relu"] = nn.ReLU()
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(planes, num_classes)
        super().__init__(layers)
        initialize(self)


def densenet121(num_classes: int = 10) -> DenseNet:
    """DenseNet-121 (see `DenseNet`) with a growth of 32; 7.0 M parameters."""
    return DenseNet([6, 12, 24, 16], 32, num_classes)

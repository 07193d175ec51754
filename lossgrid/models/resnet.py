"""The CIFAR ResNets of He et al. 2016, "Deep Residual Learning for Image Recognition", sec. 4.2.

Parameters of the option-A networks carry the names of the checkpoints published at
github.com/akamaster/pytorch_resnet_cifar10, so that those load as they are.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Shortcut = Literal["A", "B", "none"]


class PaddedSubsampling(nn.Module):
    """Shortcut A: every ``stride``-th pixel, new channels filled with zeros on both sides."""

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (planes - inplanes) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inplanes, h, w) to (n, planes, h / stride, w / stride)."""
        subsampled = x[:, :, :: self.stride, :: self.stride]
        return F.pad(subsampled, (0, 0, 0, 0, self.padding, self.padding))


def _projection(inplanes: int, planes: int, stride: int) -> nn.Module:
    """Shortcut B: a 1 x 1 convolution with BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(inplanes, planes, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(planes),
    )


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, bridged by a shortcut unless ``shortcut`` is "none"."""

    def __init__(self, inplanes: int, planes: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut: nn.Module | None
        if shortcut == "none":
            self.shortcut = None
        elif stride == 1 and inplanes == planes:
            self.shortcut = nn.Identity()
        elif shortcut == "A":
            self.shortcut = PaddedSubsampling(inplanes, planes, stride)
        else:
            self.shortcut = _projection(inplanes, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inplanes, h, w) to (n, planes, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    """A CIFAR ResNet of 6 ``blocks`` + 2 layers; its first stage has 16 ``width`` channels.

    Inputs have shape (n, 3, 32, 32), outputs are logits of shape (n, num_classes).

    Raises:
        ValueError: for an unknown shortcut, or a width or number of classes below 1.
    """

    def __init__(self, blocks: int, shortcut: Shortcut, width: int, num_classes: int) -> None:
        super().__init__()
        if shortcut not in ("A", "B", "none"):
            raise ValueError(f"shortcut is {shortcut!r}; it must be 'A', 'B' or 'none'")
        if width < 1 or num_classes < 1:
            raise ValueError(f"width ({width}) and num_classes ({num_classes}) must be at least 1")
        planes = 16 * width
        self.conv1 = nn.Conv2d(3, planes, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.layer1 = _stage(blocks, planes, planes, 1, shortcut)
        self.layer2 = _stage(blocks, planes, 2 * planes, 2, shortcut)
        self.layer3 = _stage(blocks, 2 * planes, 4 * planes, 2, shortcut)
        self.linear = nn.Linear(4 * planes, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 3, h, w) to logits (n, num_classes)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.linear(out.mean(dim=(2, 3)))
        return logits


def _stage(
    blocks: int, inplanes: int, planes: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    first = BasicBlock(inplanes, planes, stride, shortcut)
    return nn.Sequential(
        first, *(BasicBlock(planes, planes, 1, shortcut) for _ in range(blocks - 1))
    )


def resnet20(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-20 (see `ResNet`)."""
    return ResNet(3, shortcut, width, num_classes)


def resnet32(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-32 (see `ResNet`)."""
    return ResNet(5, shortcut, width, num_classes)


def resnet44(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-44 (see `ResNet`)."""
    return ResNet(7, shortcut, width, num_classes)


def resnet56(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-56 (see `ResNet`)."""
    return ResNet(9, shortcut, width, num_classes)


def resnet110(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-110 (see `ResNet`)."""
    return ResNet(18, shortcut, width, num_classes)

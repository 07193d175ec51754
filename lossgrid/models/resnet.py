"""The ResNets of He et al. 2016, "Deep Residual Learning for Image Recognition", for CIFAR.

Parameters carry the names of two kinds of published checkpoints, which load as they are: those of
github.com/akamaster/pytorch_resnet_cifar10 (shortcut A), and those of the reference code of Li et
al. (arXiv 1712.09913), github.com/tomgoldstein/loss-landscape (shortcut B, or none).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lossgrid.models.initial import initialize

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


def _bridge(inplanes: int, planes: int, stride: int, shortcut: Shortcut) -> nn.Module | None:
    """What is added to a block's own result, made of its input; nothing with shortcut "none"."""
    if shortcut == "none":
        return None
    if stride == 1 and inplanes == planes:
        return nn.Identity()
    return (PaddedSubsampling if shortcut == "A" else _projection)(inplanes, planes, stride)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, bridged by a shortcut unless ``shortcut`` is "none"."""

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = _bridge(inplanes, planes, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inplanes, h, w) to (n, planes, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.relu(out)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, bridged unless ``shortcut`` is "none".

    Without a shortcut no ReLU follows the last one, as in the reference code.
    """

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        wide = self.expansion * planes
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.shortcut = _bridge(inplanes, wide, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inplanes, h, w) to (n, 4 planes, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.shortcut is not None:
            out = F.relu(out + self.shortcut(x))
        return out


Block = type[BasicBlock] | type[Bottleneck]


class ResNet(nn.Sequential):
    """A convolution, stages of residual blocks, and a linear layer.

    Each stage has twice the channels of the one before, and half its height and width. Inputs have
    shape (n, 3, h, w), outputs are logits of shape (n, num_classes).

    Args:
        block: what the stages are made of.
        stages: how many of them each has.
        filters: of the first convolution, and of those in the first stage.
        shortcut: A adds no parameters; B projects where shapes differ; "none" leaves all out.
        num_classes: of the linear layer.

    Raises:
        ValueError: for an unknown shortcut, or a number of filters or classes below 1.
    """

    def __init__(
        self,
        block: Block,
        stages: Sequence[int],
        filters: int,
        shortcut: Shortcut,
        num_classes: int,
    ) -> None:
        if shortcut not in ("A", "B", "none"):
            raise ValueError(f"shortcut is {shortcut!r}; it must be 'A', 'B' or 'none'")
        if filters < 1 or num_classes < 1:
            raise ValueError(f"width and num_classes ({num_classes}) must be at least 1")
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(3, filters, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(filters),
            relu=nn.ReLU(),
        )
        inplanes = filters
        for number, blocks in enumerate(stages):
            planes, stride = filters << number, 2 if number else 1
            layers[f"layer{number + 1}"] = _stage(block, blocks, inplanes, planes, stride, shortcut)
            inplanes = planes * block.expansion
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(inplanes, num_classes)
        super().__init__(layers)
        initialize(self)


def _stage(
    block: Block, blocks: int, inplanes: int, planes: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    first = block(inplanes, planes, stride, shortcut)
    wide = planes * block.expansion
    return nn.Sequential(first, *(block(wide, planes, 1, shortcut) for _ in range(blocks - 1)))


def _cifar(depth: int, shortcut: Shortcut, width: int, num_classes: int) -> ResNet:
    """Three stages that begin with 16 filters, as in He et al., sec. 4.2."""
    return ResNet(BasicBlock, [(depth - 2) // 6] * 3, 16 * width, shortcut, num_classes)


def resnet20(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-20 (see `ResNet`), `width` times as wide."""
    return _cifar(20, shortcut, width, num_classes)


def resnet32(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-32 (see `ResNet`), `width` times as wide."""
    return _cifar(32, shortcut, width, num_classes)


def resnet44(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-44 (see `ResNet`), `width` times as wide."""
    return _cifar(44, shortcut, width, num_classes)


def resnet56(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-56 (see `ResNet`), `width` times as wide; with more than 1 a Wide-ResNet-56."""
    return _cifar(56, shortcut, width, num_classes)


def resnet110(shortcut: Shortcut = "A", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-110 (see `ResNet`), `width` times as wide."""
    return _cifar(110, shortcut, width, num_classes)


def resnet18(shortcut: Shortcut = "B", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-18 (see `ResNet`) with 64 filters for CIFAR, `width` times as wide."""
    return ResNet(BasicBlock, [2, 2, 2, 2], 64 * width, shortcut, num_classes)


def resnet34(shortcut: Shortcut = "B", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-34 (see `ResNet`) with 64 filters for CIFAR, `width` times as wide."""
    return ResNet(BasicBlock, [3, 4, 6, 3], 64 * width, shortcut, num_classes)


def resnet50(shortcut: Shortcut = "B", width: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-50 (see `ResNet`) with 64 filters for CIFAR, `width` times as wide."""
    return ResNet(Bottleneck, [3, 4, 6, 3], 64 * width, shortcut, num_classes)

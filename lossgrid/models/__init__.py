"""The networks that lossgrid brings along."""

from __future__ import annotations

from lossgrid.models.cnn import digits_cnn
from lossgrid.models.densenet import densenet121
from lossgrid.models.resnet import (
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet110,
)
from lossgrid.models.vgg import vgg9

__all__ = [
    "densenet121",
    "digits_cnn",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
    "vgg9",
]

"""The networks that lossgrid brings along."""

from __future__ import annotations

from lossgrid.models.cnn import digits_cnn
from lossgrid.models.resnet import resnet20, resnet32, resnet44, resnet56, resnet110

__all__ = ["digits_cnn", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]

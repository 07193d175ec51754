"""Weights to begin a training with."""

from __future__ import annotations

from torch import nn

LINEAR_SPREAD = 1e-3
"""Standard deviation of the weights of linear layers."""


def initialize(network: nn.Module) -> None:
    """Give a network random weights as Li et al. (arXiv 1712.09913) begin with.

    Those of convolutions have a variance of 2 / fan-in (He et al. 2015, arXiv 1502.01852); all
    biases are zero.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        else:
            nn.init.normal_(module.weight, std=LINEAR_SPREAD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""Dense networks: one whose bits may depend on how many threads compute it, and a heavy one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, 64, generator=generator), torch.randn(50, 10, generator=generator)


def heavy() -> nn.Module:
    """198 MB of weights."""
    return nn.Sequential(
        nn.Linear(784, 7000), nn.ReLU(), nn.Linear(7000, 6280), nn.ReLU(), nn.Linear(6280, 10)
    )


def digits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(500, 784, generator=generator)
    return images, torch.randint(10, (500,), generator=generator)

"""What is random in training: a function of the seed and the epoch, and of nothing before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """The random numbers of one epoch; a run that is resumed draws the same again.

    Attributes:
        order: int64, shape (n,), in which samples are trained on.
        top, left: int64, shape (n,), in the order of training: where windows begin, from 0 to
            twice the border.
        mirrored: bool, likewise.
        seeds: one a batch, of what layers themselves draw.
    """

    order: Tensor
    top: Tensor
    left: Tensor
    mirrored: Tensor
    seeds: list[int]


def draw(seed: int, epoch: int, samples: int, batches: int, border: int) -> Draws:
    """Draw from NumPy's counter-based generator ``Philox``, its key made of seed and epoch.

    Args:
        seed: of the training run, below 2**64.
        epoch: from 1.
        samples: to be trained on.
        batches: of an epoch.
        border: pixels around an image, see `Draws`.
    """
    generator = np.random.Generator(np.random.Philox(key=(epoch << 64) + seed))
    order = generator.permutation(samples)
    top, left = generator.integers(2 * border + 1, size=(2, samples))
    mirrored = generator.integers(2, size=samples) == 1
    seeds: list[int] = generator.integers(2**63, size=batches).tolist()
    return Draws(
        torch.from_numpy(order),
        torch.from_numpy(top),
        torch.from_numpy(left),
        torch.from_numpy(mirrored),
        seeds,
    )

"""Means over samples, and how far they may be from those of what the samples were drawn from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def averaged(samples: Tensor, loss: int | None) -> Tensor:
    """Means of a split's metrics, shape (..., metrics), and then the error of that of its loss.

    That error is the standard deviation of n independent samples over sqrt(n).

    Args:
        samples: values, shape (..., metrics, n).
        loss: which metric that is; None if its error is not wanted.
    """
    means = samples.mean(dim=-1)
    if loss is None:
        return means
    count = samples.shape[-1]
    apart = (samples[..., loss, :] - means[..., loss, None]).square().mean(dim=-1, keepdim=True)
    return torch.cat([means, (apart / (count - 1)).sqrt() if count > 1 else apart * torch.nan], -1)


class ErrorsOfDraws:
    """Errors of losses that are means over several draws, with the same samples in each.

    So it is the samples' own means over the draws that are independent. They are added one draw
    after the other, in float64: bits depend on no shape.

    Args:
        losses: of each split, see `averaged`; none at all if no error is wanted.
        draws: of each point.

    Attributes:
        found: for each point that all draws of have been added, one error a split that has any.
    """

    def __init__(self, losses: Sequence[int | None], draws: int) -> None:
        self._losses = losses
        self._draws = draws
        self._added = 0
        self._sums: list[Tensor] = []
        self.found: list[list[float]] = []

    def add(self, samples: Sequence[Tensor], places: int) -> None:
        """Add the first places of a pass, of draws and points in their order.

        Args:
            samples: of each split, shape (places of the pass, metrics, n), or (metrics, n).
            places: how many.
        """
        for place in range(places):
            losses = [
                values.reshape(-1, *values.shape[-2:])[place, [row]]
                for values, row in zip(samples, self._losses, strict=False)
                if row is not None
            ]
            sums = self._sums or [torch.zeros_like(values) for values in losses]
            self._sums = [total + values for total, values in zip(sums, losses, strict=True)]
            self._added += 1
            if self._added % self._draws == 0:
                means = [total / self._draws for total in self._sums]
                self.found.append([float(averaged(mean, 0)[-1]) for mean in means])
                self._sums = []

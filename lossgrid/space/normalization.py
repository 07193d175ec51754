"""Scaling a direction to the size of the weights that it moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Normalization = Literal["filter", "layer", "model", "none"]


def normalize(
    direction: Mapping[str, Tensor], theta: Mapping[str, Tensor], how: Normalization
) -> dict[str, Tensor]:
    """Rescale a direction, entry by entry, such that its norms are those of theta.

    - `filter`: d_i <- d_i / ||d_i|| ||theta_i||, i over the first dimension of every entry with two
      or more dimensions (filters of a convolution, rows of a linear layer), Frobenius norms; an
      entry with fewer dimensions counts as one filter. Li et al., "Visualizing the Loss Landscape
      of Neural Nets" (arXiv 1712.09913), section 4.
    - `layer`: the same with each entry as one unit.
    - `model`: one factor ||theta|| / ||d|| for everything.
    - `none`: as it is.

    A unit of norm zero stays zero.

    Args:
        direction: float64 tensors by entry name.
        theta: the weights, with (at least) the same names and the same shapes.
        how: see above.
    """
    if how == "none":
        return dict(direction)
    if how == "model":
        factor = _ratio(_norm(theta[name] for name in direction), _norm(direction.values()))
        return {name: d * factor for name, d in direction.items()}
    return {name: _by_unit(d, theta[name], how == "filter") for name, d in direction.items()}


def _by_unit(d: Tensor, weights: Tensor, filters: bool) -> Tensor:
    units = d.shape[0] if filters and d.dim() > 1 else 1
    mine = d.reshape(units, -1).norm(dim=1, keepdim=True)
    theirs = weights.to(d.dtype).reshape(units, -1).norm(dim=1, keepdim=True)
    return (d.reshape(units, -1) * _ratio(theirs, mine)).reshape(d.shape)


def _norm(tensors: object) -> Tensor:
    squares = [t.to(torch.float64).square().sum() for t in tensors]  # type: ignore[attr-defined]
    return torch.stack(squares).sum().sqrt()


def _ratio(wanted: Tensor, found: Tensor) -> Tensor:
    return torch.where(found > 0, wanted / found, torch.zeros_like(found))

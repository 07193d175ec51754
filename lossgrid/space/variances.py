"""Where BatchNorm's running variances, which are sums of those of checkpoints, are none."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

from lossgrid.problem.batchnorm import batch_norms
from lossgrid.space.grid import Grid
from lossgrid.space.plane import Plane


def negative_variances(plane: Plane, grid: Grid, model: nn.Module) -> str | None:
    """A sentence on where running variances are too small for a square root; none if nowhere.

    They change linearly over the plane, so that its corners tell of all of it, and a line's ends of
    where they begin to be negative.

    Args:
        plane: on the CPU.
        grid: coordinates.
        model: whose layers they are of.
    """
    corners = _variances(plane, model)
    if corners.numel() == 0:
        return None
    betas = [0.0] if grid.beta is None else [float(grid.beta[0]), float(grid.beta[-1])]
    ends = product([float(grid.alpha[0]), float(grid.alpha[-1])], betas)
    lowest = {end: float((_weights(plane, *end) @ corners).min()) for end in ends}
    bad = [end for end, variance in lowest.items() if variance <= 0]
    if not bad:
        return None
    if grid.beta is None:
        where = " and ".join(dict.fromkeys(_beyond(corners, alpha) for alpha, _ in bad))
    else:
        where = "around " + " and ".join(f"({alpha:g}, {beta:g})" for alpha, beta in bad)
    return (
        "directions.include: state extrapolates BatchNorm's running variances, and some are "
        f"negative {where}: losses there are NaN"
    )


def _variances(plane: Plane, model: nn.Module) -> Tensor:
    """Of all channels at theta, and what is added to them per unit of each axis, in float64.

    BatchNorm's own small number is part of them. Shape (1 + axes, channels).
    """
    views = [plane.layout.views(corner) for corner in plane.corners]
    found = [torch.empty(len(views), 0, dtype=torch.float64)]
    for name, norm in batch_norms(model).items():
        entry = f"{name}.running_var"
        if entry in views[0]:
            rows = torch.stack([view[entry].double() for view in views])
            rows[1:] -= rows[0] if plane.barycentric else 0.0
            rows[0] += norm.eps
            found.append(rows)
    return torch.cat(found, dim=1)


def _weights(plane: Plane, *place: float) -> Tensor:
    return torch.tensor([1.0, *place[: len(plane.corners) - 1]], dtype=torch.float64)


def _beyond(variances: Tensor, end: float) -> str:
    """From where on, on the way from theta to an end of a line, the first of them is negative."""
    start, step = variances
    falling = step * end < 0
    first = float((start[falling] / step[falling].abs()).min())
    return f"at alpha < {-first:.4g}" if end < 0 else f"at alpha > {first:.4g}"

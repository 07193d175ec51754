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

    They change linearly over the plane, so that its corners tell of all of it, and the ends of a
    line, or of several, of where they begin to be negative.

    Args:
        plane: on the CPU.
        grid: coordinates.
        model: whose layers they are of.
    """
    variances = _variances(plane, model)
    if variances.numel() == 0:
        return None
    if variances[0].min() <= 0:
        where = ["at theta itself"]
    else:
        where = (_on_lines if grid.beta is None else _around)(variances, grid)
    if not where:
        return None
    return (
        "directions.include: state extrapolates BatchNorm's running variances, and some are "
        f"negative {' and '.join(dict.fromkeys(where))}: losses there are NaN"
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


def _on_lines(variances: Tensor, grid: Grid) -> list[str]:
    """From where on, on the way from theta to each end, the first of them is negative."""
    start, steps = variances[0], variances[1:]
    found = []
    for end in map(float, grid.alpha[[0, -1]]):
        if (start + end * steps).min() <= 0:
            falling = steps * end < 0
            first = float((start.expand_as(steps)[falling] / steps[falling].abs()).min())
            found.append(f"at alpha < {-first:.4g}" if end < 0 else f"at alpha > {first:.4g}")
    return found


def _around(variances: Tensor, grid: Grid) -> list[str]:
    """Which corners of the plane have negative ones."""
    assert grid.beta is not None
    start, x, y = variances
    corners = product(*(map(float, axis[[0, -1]]) for axis in (grid.alpha, grid.beta)))
    return [f"around ({a:g}, {b:g})" for a, b in corners if (start + a * x + b * y).min() <= 0]

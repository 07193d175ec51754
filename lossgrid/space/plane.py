"""theta(alpha, beta): the point of weight space under a grid point."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lossgrid.errors import UserError
from lossgrid.job import DirectionsSpec, Job, RandomSpec
from lossgrid.problem import load_checkpoint
from lossgrid.space.directions import (
    Direction,
    gaussian_rows,
    random_direction,
    read_directions,
)
from lossgrid.space.layout import Layout
from lossgrid.space.normalization import normalize
from lossgrid.space.principal import Principal

BLOCK = 1 << 16
"""Numbers that are worked on at a time in float64, where a whole layer would cost memory."""


@dataclass(frozen=True)
class Plane:
    """A line or plane through theta, or several lines, spanned by directions or by checkpoints.

    theta + alpha d1 + beta d2, or in barycentric form (1 - alpha - beta) theta + alpha theta' +
    beta theta'', so that at (1, 0) and (0, 1) the checkpoints' own weights stand to the bit.

    Attributes:
        layout: which entries move.
        corners: float tensor, shape (1 + k, layout.size), k = 1 (line) or 2: theta, then d1 and d2
            or theta' and theta''; of several lines, as many as these.
        barycentric: which of the two forms.
        directions: d1 (and d2) as stored in the results file, by their axes.
    """

    layout: Layout
    corners: Tensor
    barycentric: bool
    directions: dict[str, Direction]

    def to(self, device: torch.device, dtype: torch.dtype) -> Plane:
        """The same plane on a device, in a precision."""
        corners = self.corners.to(device, dtype)
        return Plane(self.layout, corners, self.barycentric, self.directions)

    def coefficients(self, *place: float) -> tuple[float, ...]:
        """Of the corners in theta(alpha, beta), which is their sum with these weights.

        Args:
            place: see `Place`; on a line its second coordinate does not count.
        """
        count = len(self.corners) - 1
        others = (*place, *[0.0] * count)[:count]
        return (1 - sum(others) if self.barycentric else 1.0, *others)

    def move(self, flat: Tensor, *place: float) -> None:
        """Write theta(alpha, beta) into `flat`, shape (layout.size,), in a fixed order of sums."""
        (theta, weight), *others = zip(self.corners, self.coefficients(*place), strict=True)
        torch.mul(theta, weight, out=flat)
        for corner, weight in others:
            if weight:
                flat.add_(corner, alpha=weight)

    def geometry(self) -> dict[str, float]:
        """Frobenius norms of theta and the directions, and the cosine between a plane's two."""
        theta = self.corners[0]
        facts = {"norm_theta": math.sqrt(_product(theta, theta))}
        for axis, d in self.directions.items():
            facts[f"norm_{axis}"] = math.sqrt(sum(_product(d[name], d[name]) for name in d))
        if "y" in self.directions:
            x, y = self.directions["x"], self.directions["y"]
            product = facts["norm_x"] * facts["norm_y"]
            both = sum(_product(x[name], y[name]) for name in x if name in y)
            facts["cosine"] = both / product if product else math.nan
        return facts


def build_plane(
    job: Job,
    model: nn.Module,
    dtype: torch.dtype = torch.float64,
    principal: Principal | None = None,
) -> Plane:
    """The line or plane that a job asks for, on the CPU.

    Args:
        job: its `directions` and whether its grid has a beta.
        model: the trained network; its weights are theta. Not changed.
        dtype: of the corners. A direction is rounded to float32 in any case, which is what the
            results file holds, so that the file defines the plane exactly.
        principal: the components that directions of kind pca are.

    Raises:
        UserError: a checkpoint or direction file does not fit the network.
    """
    spec = job.directions
    axes = _axes(job)
    layout = Layout.of(model, spec)
    theta = layout.state(model)
    corners = torch.zeros(1 + len(axes), layout.size, dtype=dtype)
    layout.write(theta, corners[0])
    if spec.kind == "between":
        return _between(spec, axes, layout, theta, model, corners)
    if spec.kind == "random":
        for number, corner in enumerate(corners[1:]):
            draw, axis = (number, "x") if spec.draws > 1 else (0, axes[number])
            _draw(spec, draw, axis, layout, theta, corner)
    elif spec.kind == "pca":
        assert principal is not None
        for component, corner in zip(principal.components, corners[1:], strict=True):
            layout.write(normalize(layout.views(component), theta, spec.normalization), corner)
    else:
        assert spec.path is not None
        found = read_directions(spec.path, axes, layout)
        for direction, corner in zip(found, corners[1:], strict=True):
            layout.write(direction, corner)
    return _offsets(axes, layout, corners)


def _axes(job: Job) -> tuple[str, ...]:
    """By which the results file calls the directions of a job."""
    if job.directions.draws > 1:
        return tuple(f"x_d{draw}" for draw in range(job.directions.draws))
    return ("x",) if job.grid.beta is None else ("x", "y")


def _draw(
    spec: DirectionsSpec | RandomSpec,
    draw: int,
    axis: str,
    layout: Layout,
    theta: Mapping[str, Tensor],
    corner: Tensor,
) -> None:
    """Write a random direction, rounded to float32, into a vector of zeros."""
    for view, block in _drawn(spec, draw, axis, layout, theta, corner):
        view.copy_(block.to(torch.float32))


def _drawn(
    spec: DirectionsSpec | RandomSpec,
    draw: int,
    axis: str,
    layout: Layout,
    theta: Mapping[str, Tensor],
    corner: Tensor,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(part of the corner, what belongs there) of a random direction, a few rows at a time.

    A layer may be most of the network, and in float64 twice its size.
    """
    how = spec.normalization
    still = {entry.name for entry in layout.entries if entry.group in spec.ignore}
    views = {name: view for name, view in layout.views(corner).items() if name not in still}
    if how == "model":
        direction = random_direction(layout, spec.seed, axis, draw)
        moving = {name: drawn for name, drawn in direction.items() if name in views}
        whole = normalize(moving, theta, how)
        yield from ((views[name], drawn) for name, drawn in whole.items())
        return
    for name, view in views.items():
        rows, begin = _rows(view, how), 0
        for drawn in gaussian_rows(spec.seed, draw, axis, name, view.shape, rows):
            part = slice(begin, begin := begin + rows) if view.dim() else ...
            scaled = normalize({name: drawn}, {name: theta[name][part]}, how)
            yield view[part], scaled[name]


def _rows(entry: Tensor, how: str) -> int:
    """Rows to normalize at a time: all of those that are one unit."""
    if entry.dim() < 2 or how == "layer":
        return entry.shape[0] if entry.dim() else 1
    return max(1, BLOCK // max(1, entry.shape[1:].numel()))


def _between(
    spec: DirectionsSpec,
    axes: Sequence[str],
    layout: Layout,
    theta: Mapping[str, Tensor],
    model: nn.Module,
    corners: Tensor,
) -> Plane:
    directions: dict[str, Direction] = {}
    barycentric = spec.normalization == "none"
    for axis, path, corner in zip(axes, spec.checkpoints, corners[1:], strict=False):
        end = _checkpoint(path, model, layout)
        apart = {name: end[name].double() - theta[name].double() for name in theta}
        if not any(difference.any() for difference in apart.values()):
            raise UserError(
                f"directions.checkpoints: {path} has theta's own numbers in all that moves, so "
                "that there is no direction from one to the other; name another checkpoint"
            )
        direction = normalize(apart, theta, spec.normalization)
        directions[axis] = {name: d.to(torch.float32) for name, d in direction.items()}
        layout.write(end if barycentric else directions[axis], corner)
    if spec.beta is not None:
        _draw(spec.beta, 0, "y", layout, theta, corners[2])
        directions["y"] = _rounded(layout, corners[2].clone() if barycentric else corners[2])
        if barycentric:
            corners[2] += corners[0]
    if barycentric:
        return Plane(layout, corners, True, directions)
    return _offsets(axes, layout, corners)


def _offsets(axes: Sequence[str], layout: Layout, corners: Tensor) -> Plane:
    """A plane whose directions are its corners but the first."""
    directions = {
        axis: _rounded(layout, corner) for axis, corner in zip(axes, corners[1:], strict=True)
    }
    return Plane(layout, corners, False, directions)


def _rounded(layout: Layout, corner: Tensor) -> Direction:
    return {name: view.to(torch.float32) for name, view in layout.views(corner).items()}


def _checkpoint(path: Path, model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    other = copy.deepcopy(model)
    load_checkpoint(other, path)
    return layout.state(other)


def _product(x: Tensor, y: Tensor) -> float:
    """Sum of products, in float64."""
    parts = zip(*(torch.split(t.reshape(-1), BLOCK) for t in (x, y)), strict=True)
    return sum(float(a.double() @ b.double()) for a, b in parts)

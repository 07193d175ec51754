"""theta(alpha, beta): the point of weight space under a grid point."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lossgrid.job import DirectionsSpec, Job
from lossgrid.problem import load_checkpoint
from lossgrid.space.directions import Direction, random_direction, read_directions
from lossgrid.space.layout import Layout
from lossgrid.space.normalization import normalize


@dataclass(frozen=True)
class Plane:
    """A line or plane through theta, spanned by directions or by checkpoints.

    theta + alpha d1 + beta d2, or in barycentric form (1 - alpha - beta) theta + alpha theta' +
    beta theta'', so that at (1, 0) and (0, 1) the checkpoints' own weights stand to the bit.

    Attributes:
        layout: which entries move.
        corners: float tensor, shape (k, layout.size), k = 2 (line) or 3: theta, then d1 and d2
            or theta' and theta''.
        barycentric: which of the two forms.
        directions: d1 (and d2) as stored in the results file.
    """

    layout: Layout
    corners: Tensor
    barycentric: bool
    directions: list[Direction]

    def to(self, device: torch.device, dtype: torch.dtype) -> Plane:
        """The same plane on a device, in a precision."""
        corners = self.corners.to(device, dtype)
        return Plane(self.layout, corners, self.barycentric, self.directions)

    def coefficients(self, alpha: float, beta: float) -> tuple[float, ...]:
        """Of the corners in theta(alpha, beta), which is their sum with these weights."""
        others = (alpha, beta)[: len(self.corners) - 1]
        return (1 - sum(others) if self.barycentric else 1.0, *others)

    def move(self, flat: Tensor, alpha: float, beta: float) -> None:
        """Write theta(alpha, beta) into `flat`, shape (layout.size,), in a fixed order of sums."""
        (theta, weight), *others = zip(self.corners, self.coefficients(alpha, beta), strict=True)
        torch.mul(theta, weight, out=flat)
        for corner, weight in others:
            flat.add_(corner, alpha=weight)

    def geometry(self) -> dict[str, float]:
        """Frobenius norms of theta and the directions, and the cosine between two of these."""
        theta = self.corners[0].to(torch.float64)
        flat = [self.layout.flatten(d, torch.float64) for d in self.directions]
        facts = {"norm_theta": float(theta.norm())}
        facts |= {f"norm_{axis}": float(d.norm()) for axis, d in zip("xy", flat, strict=False)}
        if len(flat) == 2:
            product = facts["norm_x"] * facts["norm_y"]
            facts["cosine"] = float(flat[0] @ flat[1]) / product if product else math.nan
        return facts


def build_plane(job: Job, model: nn.Module) -> Plane:
    """The line or plane that a job asks for, on the CPU, in float64.

    Args:
        job: its `directions` and whether its grid has a beta.
        model: the trained network; its weights are theta. Not changed.

    Raises:
        UserError: a checkpoint or direction file does not fit the network.
    """
    spec = job.directions
    axes = ("x",) if job.grid.beta is None else ("x", "y")
    layout = Layout.of(model, spec)
    theta = _state(model, layout)
    if spec.kind == "between":
        return _between(spec, axes, layout, theta, model)
    if spec.kind == "random":
        drawn = [random_direction(layout, spec.seed, axis) for axis in axes]
        directions = [_stored(normalize(d, theta, spec.normalization)) for d in drawn]
    else:
        assert spec.path is not None
        directions = read_directions(spec.path, axes, layout)
    return _offsets(layout, theta, directions)


def _between(
    spec: DirectionsSpec,
    axes: tuple[str, ...],
    layout: Layout,
    theta: Mapping[str, Tensor],
    model: nn.Module,
) -> Plane:
    ends = [_checkpoint(path, model, layout) for path in spec.checkpoints]
    apart = [{name: end[name] - theta[name] for name in theta} for end in ends]
    directions = [_stored(normalize(d, theta, spec.normalization)) for d in apart]
    if spec.normalization != "none":
        return _offsets(layout, theta, directions)
    corners = torch.stack([layout.flatten(corner, torch.float64) for corner in (theta, *ends)])
    return Plane(layout, corners, True, directions)


def _offsets(layout: Layout, theta: Mapping[str, Tensor], directions: list[Direction]) -> Plane:
    corners = [layout.flatten(corner, torch.float64) for corner in (theta, *directions)]
    return Plane(layout, torch.stack(corners), False, directions)


def _stored(direction: Mapping[str, Tensor]) -> Direction:
    """Rounded to what the results file holds, so that the file defines the plane exactly."""
    return {name: d.to(torch.float32) for name, d in direction.items()}


def _state(model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    """The moving entries of a model, in float64."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {entry.name: state[entry.name].detach().to(torch.float64) for entry in layout.entries}


def _checkpoint(path: Path, model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    other = copy.deepcopy(model)
    load_checkpoint(other, path)
    return _state(other, layout)

"""The region around a surface's minimum that lies below a level."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError

try:
    from contourpy import FillType, LineType, contour_generator
except ImportError as missing:
    raise UserError(
        f"regions need contourpy ({missing}): pip install 'lossgrid[view]'"
    ) from missing

Floats = NDArray[np.float64]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Basin:
    """The connected region below a level that holds the minimum, in units of alpha and beta.

    Attributes:
        area: its own, without islands above the level.
        width_alpha, width_beta: from end to end along an axis.
        closed: whether it ends inside the grid; otherwise all of these are lower bounds.
        radius: from the minimum to the nearest point at the level; None if there is none.
    """

    area: float
    width_alpha: float
    width_beta: float
    closed: bool
    radius: float | None


def basin(alpha: Floats, beta: Floats, values: Floats, level: float) -> Basin | None:
    """The region of a surface below `level` around its minimum; None if the minimum is above.

    Between points the surface is interpolated linearly along the grid's lines, and outlines
    are straight inside a cell.

    Args:
        alpha: shape (nx,), at least two. beta: shape (ny,), likewise.
        values: shape (ny, nx); what is not finite is missing.
    """
    surface = np.ma.masked_invalid(values)
    if not surface.min() < level:
        return None
    row, column = np.unravel_index(int(surface.argmin()), values.shape)
    centre = np.array([alpha[column], beta[row]])
    generator: Any = contour_generator(  # untyped: what it returns depends on the types asked for
        alpha, beta, surface, fill_type=FillType.OuterOffset, line_type=LineType.Separate
    )
    below = float(surface.min()) - 1.0
    for points, offsets in zip(*generator.filled(below, level), strict=True):
        rings = [points[begin:end] for begin, end in pairwise(offsets)]
        if _holds(rings, centre):
            lower = level - _ROUNDING * (level - below)
            open_ = any(_is_below(alpha, beta, surface, lower, point) for point in points)
            distances = [_distance(line, centre) for line in generator.lines(level)]
            return _measured(rings, not open_, min(distances, default=None))
    return None  # the minimum is on no whole cell: all of its cells have missing corners


def _holds(rings: list[Floats], point: Floats) -> bool:
    """Whether a point lies in a region: on its outline, or inside that and in none of its holes."""
    outline, *holes = rings
    if any(_distance(ring, point) == 0 for ring in rings):
        return True
    return _surrounds(outline, point) and not any(_surrounds(hole, point) for hole in holes)


def _measured(rings: list[Floats], closed: bool, radius: float | None) -> Basin:
    area = abs(_area(rings[0])) - sum(abs(_area(island)) for island in rings[1:])
    width_alpha, width_beta = np.ptp(rings[0], axis=0).tolist()
    return Basin(area, width_alpha, width_beta, closed, radius)


def _is_below(alpha: Floats, beta: Floats, surface: Any, level: float, point: Floats) -> bool:
    """Whether a point of an outline is one of the grid that lies below the level.

    There the surface ends before it reaches the level. Other points of outlines are at the level.
    """
    column, row = np.searchsorted(alpha, point[0]), np.searchsorted(beta, point[1])
    return bool(
        alpha[column] == point[0] and beta[row] == point[1] and surface[row, column] < level
    )


def _area(ring: Floats) -> float:
    """Of a closed polygon, signed (the shoelace formula)."""
    x, y = (ring - ring[0]).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def _distance(ring: Floats, point: Floats) -> float:
    """From a point to the nearest piece of a line."""
    begin, side = ring[:-1], np.diff(ring, axis=0)
    length = np.maximum((side**2).sum(axis=1), np.finfo(float).tiny)
    share = np.clip(((point - begin) * side).sum(axis=1) / length, 0, 1)
    return float(np.linalg.norm(begin + share[:, None] * side - point, axis=1).min())


def _surrounds(ring: Floats, point: Floats) -> bool:
    """Whether a point lies inside a closed polygon: its sides turn once around it."""
    x, y = (ring - point).T
    turns = np.arctan2(x[:-1] * y[1:] - x[1:] * y[:-1], x[:-1] * x[1:] + y[:-1] * y[1:])
    return bool(abs(turns.sum()) > np.pi)

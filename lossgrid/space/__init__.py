"""The plane that a loss surface lies over: theta, directions, grid."""

from __future__ import annotations

from lossgrid.space.directions import Direction, read_directions
from lossgrid.space.grid import Grid, Place
from lossgrid.space.layout import Layout
from lossgrid.space.plane import Plane, build_plane
from lossgrid.space.principal import Principal, principal
from lossgrid.space.projection import Projection
from lossgrid.space.variances import negative_variances

__all__ = [
    "Direction",
    "Grid",
    "Layout",
    "Place",
    "Plane",
    "Principal",
    "Projection",
    "build_plane",
    "negative_variances",
    "principal",
    "read_directions",
]

"""The plane that a loss surface lies over: theta, directions, grid."""

from __future__ import annotations

from lossgrid.space.directions import Direction
from lossgrid.space.grid import Grid
from lossgrid.space.layout import Layout
from lossgrid.space.plane import Plane, build_plane

__all__ = ["Direction", "Grid", "Layout", "Plane", "build_plane"]

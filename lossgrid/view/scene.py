"""A surface set up to be drawn in 3-D: plain arrays, for a process that has VTK."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lossgrid.view.camera import Camera, cameras
from lossgrid.view.relief import Relief
from lossgrid.view.snapshot import Snapshot


@dataclass(frozen=True)
class Scene:
    """What the drawing process needs to know.

    Attributes:
        surface: the plane to draw, what the relief calls rise in place of values, axes around 0.
        relief: of such a surface.
        colours: red, green and blue of each point, uint8, shape (ny, nx, 3).
        line_colours: red, green and blue of each contour line, uint8, shape (levels, 3).
        background: red, green and blue from 0 to 255; None is transparent.
        size: width and height of the pictures in pixels.
        cameras: a picture is drawn from each.
        multisamples: samples of each of the four parts of a pixel; 0 is one.
    """

    surface: Snapshot
    relief: Relief
    colours: NDArray[np.uint8]
    line_colours: NDArray[np.uint8]
    background: tuple[int, int, int] | None
    size: tuple[int, int]
    cameras: tuple[Camera, ...] = ()
    multisamples: int = 4

    def seen_from(self, *directions: tuple[float, float]) -> Scene:
        """The same from other directions, each an azimuth and an elevation in degrees."""
        width, height = self.size
        placed = cameras(self._points(), directions, width / height)
        return replace(self, cameras=tuple(placed))

    def turning(self, azimuth: float, elevation: float, frames: int) -> Scene:
        """The same from all around in so many steps; fewer samples do where things move."""
        steps = (azimuth + 360 * step / frames for step in range(frames))
        return replace(self, multisamples=0).seen_from(*((step, elevation) for step in steps))

    def _points(self) -> NDArray[np.float64]:
        """Those that have a height, shape (n, 3)."""
        assert self.surface.beta is not None
        x, y = np.meshgrid(self.surface.alpha, self.surface.beta)
        heights = self.relief.heights(self.surface.values)
        points: NDArray[np.float64] = np.stack([x, y, heights], axis=-1)[~np.isnan(heights)]
        return points

"""A landscape set up to be drawn in 3-D: plain arrays, nothing of VTK."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.camera import Camera, cameras, direction
from lossgrid.view.light import openness
from lossgrid.view.relief import Look, Relief
from lossgrid.view.scale import HUGE, Scale
from lossgrid.view.smooth import smooth
from lossgrid.view.snapshot import Snapshot, choose_column
from lossgrid.view.thinning import drawn_lattice

try:
    import matplotlib
    from PIL import ImageColor
except ImportError as missing:
    raise UserError(f"3-D pictures need {missing.name}: pip install 'lossgrid[vtk]'") from missing

_LEAST_SIZE, _MOST_SIZE = 16, 8192
_MOST_POINTS = 1000
_MOST_SMOOTH = 600
_SQUARE_UP_TO = 3.0
_GAMMA = 2.2


@dataclass(frozen=True)
class Shot:
    """How a surface is photographed.

    Attributes:
        camera: a preset's name, or azimuth,elevation in degrees.
        size: width and height of the picture in pixels.
        background: name or #rrggbb of a colour; None is transparent.
        colours: one of matplotlib's colour maps.
        bar: whether there is a colour bar.
        as_computed: draw flat squares between the computed points, without points between them.
    """

    camera: str = "iso"
    size: tuple[int, int] = (2400, 1800)
    background: str | None = "#0e1116"
    colours: str = "viridis"
    bar: bool = False
    as_computed: bool = False

    def colour_map(self) -> matplotlib.colors.Colormap:
        """matplotlib's colour map of that name.

        Raises:
            UserError: there is none.
        """
        if self.colours not in matplotlib.colormaps:
            nearest = difflib.get_close_matches(self.colours, list(matplotlib.colormaps), n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise UserError(f"--colours {self.colours}: is no colour map of matplotlib{hint}")
        return matplotlib.colormaps[self.colours]

    def background_rgb(self) -> tuple[int, int, int] | None:
        """Red, green and blue from 0 to 255, None where it is transparent.

        Raises:
            UserError: there is no such colour.
        """
        if self.background is None:
            return None
        try:
            return ImageColor.getrgb(self.background)[:3]
        except ValueError:
            raise UserError(
                f"--background {self.background}: is no colour such as white or #0e1116"
            ) from None


@dataclass(frozen=True)
class Scene:
    """What the drawing process needs to know.

    Attributes:
        surface: the plane to draw, what the relief calls rise in place of values, axes around 0.
        relief: of such a surface.
        colours: red, green and blue of each point, uint8, shape (ny, nx, 3).
        line_colours: red, green and blue of each contour line, uint8, shape (levels, 3).
        background: red, green and blue from 0 to 255; None is transparent.
        cameras: a picture is drawn from each.
        size: width and height of the pictures in pixels.
        multisamples: samples of each of the four parts of a pixel; 0 is one.
    """

    surface: Snapshot
    relief: Relief
    colours: NDArray[np.uint8]
    line_colours: NDArray[np.uint8]
    background: tuple[int, int, int] | None
    cameras: tuple[Camera, ...]
    size: tuple[int, int]
    multisamples: int = 4

    def turning(self, shot: Shot, frames: int) -> Scene:
        """The same seen from all around in so many steps, which begin at the shot's camera."""
        azimuth, elevation = direction(shot.camera)
        turn = [(azimuth + 360 * step / frames, elevation) for step in range(frames)]
        width, height = self.size
        placed = cameras(_points(self.surface, self.relief), turn, width / height)
        return replace(self, cameras=tuple(placed), multisamples=0)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels of a text such as 2400x1800.

    Raises:
        UserError: it is another text, or a picture that is too small or too large.
    """
    found = re.fullmatch(r"(\d{1,9})[xX](\d{1,9})", text)
    if found:
        width, height = map(int, found.groups())
        if min(width, height) >= _LEAST_SIZE and max(width, height) <= _MOST_SIZE:
            return width, height
    raise UserError(
        f"--size {text}: is not a width x height from {_LEAST_SIZE} to {_MOST_SIZE} pixels such as "
        "2400x1800"
    )


def photographed(results: Landscape, look: Look) -> tuple[Snapshot, Relief]:
    """The plane as it is now, and the relief that it is drawn with.

    Raises:
        UserError: there is no such column, nothing finite, or a line.
    """
    column = choose_column(list(results.values), look.column)
    snapshot = Snapshot.of(results, column, [column])
    if not snapshot.is_plane:
        raise UserError(f"{snapshot.name}: is a line, and render draws planes; see plot")
    snapshot.check_drawable()
    return snapshot, Relief.of(snapshot.values, snapshot.width, look, snapshot.is_fraction)


def compose(snapshot: Snapshot, relief: Relief, shot: Shot, size: tuple[int, int]) -> Scene:
    """Set up a plane in a box of unit width around the origin, coloured and lit.

    An unfinished grid is drawn by its finest complete lattice, a large one by about 1000 points an
    axis.

    Raises:
        UserError: there is no such colour, colour map or camera.
    """
    background, colour_map, view = shot.background_rgb(), shot.colour_map(), direction(shot.camera)
    surface, drawn = _in_a_box(snapshot, relief, 0 if shot.as_computed else max(size) // 2)
    assert surface.beta is not None
    light = openness(surface.alpha, surface.beta, drawn.heights(surface.values))
    top = drawn.shown.high or 1.0
    colours = _lit(colour_map(np.nan_to_num(surface.values) / top)[..., :3], light)
    lines = (1 + colour_map(np.array(drawn.levels) / top)[..., :3]) / 2
    width, height = size
    placed = cameras(_points(surface, drawn), [view], width / height)
    return Scene(surface, drawn, colours, _bytes(lines), background, tuple(placed), size)


def _in_a_box(snapshot: Snapshot, relief: Relief, points: int) -> tuple[Snapshot, Relief]:
    """The plane with rise in place of values and so many points an axis, and its relief."""
    rows, columns = drawn_lattice(snapshot.status, _MOST_POINTS)
    assert snapshot.beta is not None
    alpha, beta = snapshot.alpha[columns], snapshot.beta[rows]
    rise = _unclamped(relief, snapshot).rise(snapshot.values[np.ix_(rows, columns)])
    alpha, beta, rise = smooth(alpha, beta, rise, min(points, _MOST_SMOOTH))
    top = float(relief.rise(np.array(relief.shown.high)))
    rise = np.minimum(rise, top)
    alpha, beta = _box(alpha, beta)
    surface = replace(
        snapshot,
        alpha=alpha,
        beta=beta,
        status=np.ones(rise.shape, np.uint8),
        curves={snapshot.column: rise},
    )
    levels = tuple(relief.rise(np.array(relief.levels)).tolist())
    return surface, Relief(Scale(0.0, top, False), relief.stretch / snapshot.width, levels)


def _unclamped(relief: Relief, snapshot: Snapshot) -> Relief:
    """The same up to the highest value, so that a plateau has a smooth rim when it is cut off."""
    finite = snapshot.values[np.isfinite(snapshot.values)]
    high = max(relief.shown.high, min(float(finite.max()), HUGE))
    return replace(relief, shown=replace(relief.shown, high=high))


def _box(
    alpha: NDArray[np.float64], beta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both axes around 0, the longer of length 1; both where one is much longer, as in plots."""
    lengths = [float(np.ptp(axis)) for axis in (alpha, beta)]
    ratio = math.log(lengths[0] / lengths[1])
    units = [max(lengths)] * 2 if abs(ratio) <= math.log(_SQUARE_UP_TO) else lengths
    alpha, beta = (
        (axis - (axis[0] + axis[-1]) / 2) / unit
        for axis, unit in zip((alpha, beta), units, strict=True)
    )
    return alpha, beta


def _points(surface: Snapshot, relief: Relief) -> NDArray[np.float64]:
    """Those that have a height, shape (n, 3)."""
    assert surface.beta is not None
    x, y = np.meshgrid(surface.alpha, surface.beta)
    heights = relief.heights(surface.values)
    points = np.stack([x, y, heights], axis=-1)
    found: NDArray[np.float64] = points[~np.isnan(heights)]
    return found


def _lit(colours: NDArray[np.float64], light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours of a display, from 0 to 1, dimmed as a lamp would: before its gamma."""
    return _bytes((colours**_GAMMA * light[..., None]) ** (1 / _GAMMA))


def _bytes(colours: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.round(255 * colours).astype(np.uint8)

"""Making a scene of a landscape: its heights, colours and light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.camera import direction
from lossgrid.view.light import openness
from lossgrid.view.relief import Look, Relief
from lossgrid.view.scale import HUGE, Scale
from lossgrid.view.scene import Scene
from lossgrid.view.shot import Shot
from lossgrid.view.smooth import smooth
from lossgrid.view.snapshot import Snapshot, choose_column, steepness
from lossgrid.view.thinning import drawn_lattice

_MOST_POINTS = 1000
_MOST_SMOOTH = 600
_GAMMA = 2.2


def photographed(results: Landscape, look: Look) -> tuple[Snapshot, Relief]:
    """The plane as it is now, and the relief that it is drawn with.

    Raises:
        UserError: there is no such column, nothing finite, or a line.
    """
    column = choose_column(results, look.column)
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
    return Scene(surface, drawn, colours, _bytes(lines), background, size).seen_from(view)


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
    return surface, Relief(
        Scale(0.0, top, logarithmic=False), relief.stretch / snapshot.width, levels
    )


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
    units = lengths if steepness(alpha, beta) is None else [max(lengths)] * 2
    alpha, beta = (
        (axis - (axis[0] + axis[-1]) / 2) / unit
        for axis, unit in zip((alpha, beta), units, strict=True)
    )
    return alpha, beta


def _lit(colours: NDArray[np.float64], light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours of a display, from 0 to 1, dimmed as a lamp would: before its gamma."""
    return _bytes((colours**_GAMMA * light[..., None]) ** (1 / _GAMMA))


def _bytes(colours: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.round(255 * colours).astype(np.uint8)

"""From where a surface is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError

VIEW_ANGLE = 25.0
"""Degrees from the bottom of the picture to its top."""

PRESETS = {
    "iso": (-30.0, 40.0),
    "top": (0.0, 90.0),
    "front": (0.0, 20.0),
    "side": (90.0, 20.0),
    "low": (-30.0, 15.0),
}
"""Azimuth and elevation in degrees: 0, 0 looks along beta; azimuth grows towards alpha's end."""

_FILLED = 0.92

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A place to look from, a point to look at, and what is upwards; each of shape (3,)."""

    place: Vector
    focus: Vector
    up: Vector


def direction(text: str) -> tuple[float, float]:
    """Azimuth and elevation by a preset's name or as two numbers of degrees.

    Raises:
        UserError: it is neither, or an elevation beyond 90.
    """
    if text in PRESETS:
        return PRESETS[text]
    try:
        azimuth, elevation = map(float, text.split(","))
    except ValueError:
        azimuth = elevation = np.nan
    if not (np.isfinite(azimuth) and -90 <= elevation <= 90):
        raise UserError(
            f"--camera {text}: is neither {', '.join(PRESETS)} nor azimuth,elevation in degrees "
            "such as -30,35"
        )
    return azimuth, elevation


def cameras(
    points: Vector, directions: Sequence[tuple[float, float]], aspect: float
) -> list[Camera]:
    """One camera for each direction, all at one distance from which each sees all points.

    Seen from a camera at distance d and lateral offset c, a point at lateral place x and depth w is
    in the picture if |x - c| <= t (w + d), t the tangent of half the view angle. That these hold
    for all points and cameras gives the least d, and the c that centres what is seen.

    Args:
        points: shape (n, 3), around the vertical axis through the origin.
        directions: azimuth and elevation of each camera, in degrees.
        aspect: width of the picture over its height.
    """
    frames = [_frame(*view) for view in directions]
    tall = np.tan(np.radians(VIEW_ANGLE / 2)) * _FILLED
    tangents = np.array([tall * aspect, tall])
    least, most = np.full(2, np.inf), np.full(2, -np.inf)
    for right, up, back in frames:
        lateral, depth = points @ np.stack([right, up], -1), points @ -back
        most = np.maximum(most, (lateral - tangents * depth[:, None]).max(axis=0))
        least = np.minimum(least, (lateral + tangents * depth[:, None]).min(axis=0))
    distance = float(((most - least) / (2 * tangents)).max())
    offset = (most + least) / 2
    placed = []
    for right, up, back in frames:
        focus = offset[0] * right + offset[1] * up
        placed.append(Camera(focus + distance * back, focus, up))
    return placed


def _frame(azimuth: float, elevation: float) -> tuple[Vector, Vector, Vector]:
    """Unit vectors to the right, upwards, and back to the camera."""
    turn, rise = np.radians(azimuth), np.radians(elevation)
    outwards = np.array([np.sin(turn), -np.cos(turn), 0.0])
    right = np.array([np.cos(turn), np.sin(turn), 0.0])
    vertical = np.array([0.0, 0.0, 1.0])
    back = np.cos(rise) * outwards + np.sin(rise) * vertical
    return right, np.cos(rise) * vertical - np.sin(rise) * outwards, back

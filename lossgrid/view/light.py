"""How much light reaches the points of a surface that shadows itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DIRECTIONS = 24
_DISTANCES = 20
_REACH = 0.6


def openness(
    x: NDArray[np.float64], y: NDArray[np.float64], heights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The share of an evenly bright sky's light that reaches each point of a height field.

    A horizontal patch whose horizon is at elevation h(direction) receives the mean of cos(h)^2 over
    all directions. Horizons are looked for in 24 directions, to six tenths of the longer axis.
    Points without a height (NaN) hide nothing, and what they receive means nothing.

    Args:
        x: coordinates of the columns, shape (nx,).
        y: coordinates of the rows, shape (ny,).
        heights: shape (ny, nx).

    Returns: values from 0 to 1, shape (ny, nx).
    """
    ground = np.nan_to_num(heights, nan=-np.inf)
    ny, nx = heights.shape
    reach = max(1.0, _REACH * (max(ny, nx) - 1))
    distances = np.unique(np.round(np.geomspace(1, reach, _DISTANCES)))
    total = np.zeros((ny, nx))
    for angle in 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        steepest = np.zeros((ny, nx))
        for distance in distances:
            (to_y, at_y), dy = _shifted(y, round(distance * np.sin(angle)))
            (to_x, at_x), dx = _shifted(x, round(distance * np.cos(angle)))
            here = steepest[at_y, at_x]
            with np.errstate(invalid="ignore"):  # a hole behind a hole
                rise = ground[to_y, to_x] - ground[at_y, at_x]
            np.fmax(here, rise / np.hypot(dy[:, None], dx), out=here)
        total += 1 / (1 + steepest**2)  # cos^2 of the angle with this tangent
    return total / _DIRECTIONS


def _shifted(
    places: NDArray[np.float64], steps: int
) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """Slices of an axis that lie so many steps apart, (there, here), and how far that is."""
    there = slice(max(0, steps), max(0, places.size + min(0, steps)))
    here = slice(max(0, -steps), max(0, places.size - max(0, steps)))
    return (there, here), places[there] - places[here]

"""How far values of low precision are from those of float32: a few points are computed again."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.signals import StopRequest
from lossgrid.engine.worker import Evaluator
from lossgrid.errors import DroppedError, OutOfMemoryError
from lossgrid.store.results import Results

SHARE = 100
"""Points of the grid for each that is computed again. In float32 that takes twice as long on a CPU:
two percent of a run."""


def sample(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The points of a grid that are compared: at most 9, evenly over a plane or line.

    Corners and centre always; none where these would be more than a point in `SHARE`.

    Args:
        shape: (ny, nx) of a plane, (nx,) of a line.

    Returns: flat indices, int64, shape (n,), ascending.
    """
    total = math.prod(shape)
    if max(shape) == total:
        nine = np.linspace(0, total - 1, 9).round().astype(np.int64)
        choices = [nine, nine[::2], nine[::4]]
    else:
        rows, columns = (np.linspace(0, n - 1, 3).round().astype(np.int64) for n in shape)
        nine = (rows[:, None] * shape[1] + columns).ravel()
        choices = [nine, nine[::2]]
    return next((points for points in choices if points.size * SHARE <= total), nine[:0])


def impossible(shape: tuple[int, ...], estimated: bool) -> str | None:
    """Why no point of a grid is compared, if so.

    Args:
        shape: see `sample`.
        estimated: whether values are estimates from some of the data.
    """
    if estimated:
        return "values are estimates, which differ by more"
    if sample(shape).size:
        return None
    return f"{math.prod(shape)} points are too few to compute some of them twice"


def again(
    evaluate: Evaluator,
    points: NDArray[np.int64],
    columns: int,
    stopping: StopRequest,
) -> NDArray[np.float64]:
    """Values of points in float32, one after the other until a signal asks to stop.

    Returns: shape (at most n, columns); NaN where a point fails.

    Raises:
        OutOfMemoryError: if that is why.
    """
    values = np.empty((0, columns))
    for point in points[:, None]:
        if stopping():
            break
        try:
            found = evaluate(point, stopping.overdue)
        except DroppedError:
            break
        except OutOfMemoryError:
            raise
        except Exception:  # a user's code may fail at any point
            found = np.full((1, columns), np.nan)
        values = np.concatenate([values, found])
    return values


def told(results: Results) -> str | None:
    """The largest relative difference in words; none if there is nothing to say."""
    name = json.loads(results.plan).get("precision", "low precision")
    if reason := results.attributes.get("uncompared"):
        return f"{name}: not compared with float32: {reason}"
    rows = results.precision
    if rows is None or not rows.size:
        return None
    apart = _relative(rows)
    if not apart.size or np.isnan(apart).all():
        return f"{name}: no value that could be compared with float32"
    worst = int(np.nanargmax(apart))
    place = results.place(int(rows["point"][worst]))
    return (
        f"{name}: within {apart[worst]:.2g} of float32 at {np.unique(rows['point']).size} points "
        f"(relative; worst is {rows['column'][worst].decode()} at {place})"
    )


def _relative(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Difference over the value in float32; NaN where either is not finite, or that value is 0."""
    true, found = rows["float32"], rows["stored"]
    with np.errstate(invalid="ignore", divide="ignore"):
        apart: NDArray[np.float64] = np.abs(found - true) / np.abs(true)
    return np.where(np.isfinite(apart), apart, np.nan)

"""Bands of two standard errors around the curves of a line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import PENDING
from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.figures.curves import BAND, Curves, Side
from lossgrid.view.snapshot import Snapshot, parts

_ERRORS = ("sem", "se_data")
"""Of the estimate against the job's data, and of these as a sample of more."""


def draw_errors(
    curves: Curves, sides: Sequence[Side], results: Landscape, snapshot: Snapshot
) -> None:
    """Draw the band in which two standard errors, all that are stored together, leave each mean.

    Raises:
        UserError: none of the curves has an error.
    """
    ((_, along),) = snapshot.axes.items()
    computed = snapshot.status.ravel() != PENDING
    found = False
    for number, (side, on) in enumerate(zip(sides, curves.axes, strict=True)):
        for name, values in snapshot.curves.items():
            error = _error(results, name)
            if parts(name)[1] != side.metric or error is None:
                continue
            found = True
            low, high = (values + sign * 2 * error for sign in (-1, 1))
            known = computed & np.isfinite(low) & np.isfinite(high)
            on.fill_between(along, low, high, known, color=f"C{number}", alpha=BAND, linewidth=0)
    if not found:
        raise UserError(
            f"{snapshot.name}: holds no standard errors of {', '.join(snapshot.curves)}; compute "
            "them with samples: n for the split (or evaluation.tolerance), or leave out --errors"
        )


def _error(results: Landscape, column: str) -> NDArray[np.float64] | None:
    """Of a column, from independent sources; None if none is stored."""
    stored = [
        results.values[name] for kind in _ERRORS if (name := f"{column}_{kind}") in results.values
    ]
    return np.sqrt(sum(error**2 for error in stored)) if stored else None

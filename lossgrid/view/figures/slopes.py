"""Arrows over a plane that point to where the loss falls most steeply."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.snapshot import Snapshot

_MOST = 15  # arrows an axis
_LENGTH = 0.7  # of the distance of two arrows


def draw_slopes(axes: Axes, results: Landscape, snapshot: Snapshot) -> None:
    """Draw an arrow against the plane's gradient at some points, all of one length.

    Raises:
        UserError: the file has no slopes, or it is a line.
    """
    by_alpha, by_beta = _slopes(results, snapshot)
    assert snapshot.beta is not None
    rows, columns = (_some(axis.size) for axis in (snapshot.beta, snapshot.alpha))
    across, up = -by_alpha[np.ix_(rows, columns)], -by_beta[np.ix_(rows, columns)]
    steepness = np.hypot(across, up)
    known = np.isfinite(steepness) & (steepness > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        across, up = across / steepness, up / steepness
    step = min(
        float(np.ptp(axis)) / (some.size - 1)
        for axis, some in ((snapshot.beta, rows), (snapshot.alpha, columns))
    )
    alpha, beta = np.meshgrid(snapshot.alpha[columns], snapshot.beta[rows])
    axes.quiver(
        *(part[known] for part in (alpha, beta, across, up)),
        angles="xy",
        scale_units="xy",
        scale=1 / (_LENGTH * step),
        color="white",
        edgecolor="black",
        linewidth=0.3,
        pivot="mid",
        width=0.004,
        headwidth=4,
        zorder=3,
    )


def _slopes(
    results: Landscape, snapshot: Snapshot
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the loss of the column's own split, by alpha and beta."""
    ending = "_gradient_beta"
    splits = [name.removesuffix(ending) for name in results.values if name.endswith(ending)]
    own = [split for split in splits if snapshot.column.startswith(f"{split}_")]
    if not own:
        raise UserError(
            f"{results.name}: no slopes to draw over {snapshot.column}; compute them with "
            "curvature: {gradient: {}} for its split, or leave out --arrows"
        )
    split = max(own, key=len)
    return results.values[f"{split}_gradient_alpha"], results.values[f"{split}{ending}"]


def _some(count: int) -> NDArray[np.int64]:
    """Equally distant indices of an axis, in its middle."""
    every = -(-count // _MOST)
    return np.arange((count - 1) % every // 2, count, every)

"""Training runs over a plane or a line, as in Figure 9 of Li et al. (arXiv:1712.09913)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lossgrid.store.trajectory import Trajectory
from lossgrid.view.snapshot import Snapshot

_ORDINALS = {"alpha": "1st", "beta": "2nd"}
_BEYOND = 0.05
_DROP: dict[str, Any] = {
    "ls": "",
    "marker": "D",
    "ms": 4.5,
    "mfc": "white",
    "mec": "black",
    "mew": 0.9,
    "zorder": 4.5,
}


def draw_over_plane(axes: Axes, trajectories: Mapping[str, Trajectory]) -> list[Line2D]:
    """Draw paths: a dot for each checkpoint, a diamond where the learning rate dropped.

    The axes grow where a path leaves the plane, and name the share of the variance that each
    direction explains.

    Returns: what a legend should explain.
    """
    paths: list[Line2D] = []
    drops: list[Line2D] = []
    for number, (name, one) in enumerate(trajectories.items(), start=1):
        assert one.beta is not None
        axes.plot(one.alpha, one.beta, color="white", lw=2.2, zorder=4)  # apart from the colours
        dots: dict[str, Any] = {"marker": "o", "ms": 2.6, "mec": "white", "mew": 0.3}
        paths += axes.plot(one.alpha, one.beta, color=f"C{number}", label=name, zorder=4, **dots)
        places = one.alpha[one.drops], one.beta[one.drops]
        if one.drops.size:
            drops += axes.plot(*places, label="learning rate drops", **_DROP)
        axes.set_xlim(_grown(axes.get_xlim(), one.alpha))
        axes.set_ylim(_grown(axes.get_ylim(), one.beta))
    components = _components(trajectories)
    axes.set_xlabel(components.get("alpha", axes.get_xlabel()))
    axes.set_ylabel(components.get("beta", axes.get_ylabel()))
    return paths + drops


def draw_over_line(
    axes: Axes, trajectories: Mapping[str, Trajectory], line: Snapshot
) -> list[Line2D]:
    """Draw the true values of checkpoints over a line's main curve, where they are known.

    Returns: what a legend should explain.
    """
    told = []
    (axis,) = line.axes
    for number, (name, one) in enumerate(trajectories.items()):
        along = one.beta if axis == "beta" else one.alpha
        assert along is not None
        if line.column in one.values:
            marker = "^vsD"[number % 4]
            values = one.values[line.column]
            told += axes.plot(along, values, marker, color="0.35", label=name, clip_on=False)
        axes.set_xlim(_grown(axes.get_xlim(), along))
    axes.set_xlabel(_components(trajectories).get(axis, axes.get_xlabel()))
    return told


def _components(trajectories: Mapping[str, Trajectory]) -> dict[str, str]:
    """Names of the axes that are principal components, by the variance that they explain."""
    for one in trajectories.values():
        if one.explained_variance is not None:
            return {
                axis: f"{ordinal} PCA component: {share:.1%}".replace("%", " %")
                for (axis, ordinal), share in zip(
                    _ORDINALS.items(), one.explained_variance, strict=False
                )
            }
    return {}


def _grown(limits: tuple[float, float], places: NDArray[np.float64]) -> tuple[float, float]:
    """Limits that have all places within, with a margin where there was no place before."""
    low, high = limits
    finite = places[np.isfinite(places)]
    if finite.size == 0:
        return limits
    margin = _BEYOND * (max(high, finite.max()) - min(low, finite.min()))
    if finite.min() < low:
        low = float(finite.min()) - margin
    if finite.max() > high:
        high = float(finite.max()) + margin
    return low, high

"""Training runs on the plane: where their checkpoints lie, and how true the surface is there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lossgrid.store.results import Results
from lossgrid.store.trajectory import Trajectory
from lossgrid.view.snapshot import choose_column

MARGIN = 0.1
"""Of a suggested range beyond the trajectories, on each side."""


def coverage(
    name: str,
    trajectory: Trajectory,
    alpha: NDArray[np.float64],
    beta: NDArray[np.float64] | None,
) -> str:
    """A sentence on whether a grid of these coordinates holds a trajectory, or which one would."""
    axes = {"alpha": (alpha, trajectory.alpha)}
    if beta is not None and trajectory.beta is not None:
        axes["beta"] = (beta, trajectory.beta)
    outside = np.any([(t < axis[0]) | (t > axis[-1]) for axis, t in axes.values()], axis=0)
    if not outside.any():
        return f"trajectory {name}: the grid holds all of its {outside.size} checkpoints"
    ranges = {axis: suggested(places) for axis, (_, places) in axes.items()}
    wanted = " and ".join(
        f"grid.{axis} from {low:g} to {high:g}" for axis, (low, high) in ranges.items()
    )
    return (
        f"trajectory {name}: {outside.sum()} of {outside.size} checkpoints lie outside the grid; "
        f"{wanted} would hold all"
    )


def suggested(places: NDArray[np.float64]) -> tuple[float, float]:
    """A range with few digits that holds places, and theta at 0, with a margin."""
    low, high = min(0.0, float(places.min())), max(0.0, float(places.max()))
    margin = MARGIN * (high - low) or 1.0
    step = 10.0 ** math.floor(math.log10(margin))
    first, last = (round(end / step, 6) for end in (low - margin, high + margin))
    return math.floor(first) * step, math.ceil(last) * step


def told(results: Results) -> list[str]:
    """A sentence for each trajectory of a file: what its axes explain, and how true the surface is.

    The column is the one that figures show.
    """
    trajectories = results.trajectories
    if not trajectories:
        return []
    column = choose_column(results, None)
    surface = results.values[column]
    return [
        f"trajectory {name}: "
        + "; ".join(
            [
                *([] if t.explained_variance is None else [explained(t.explained_variance)]),
                _apart(t, column, t.under(results.alpha, results.beta, surface)),
                *(f"{count} true values {why}" for why, count in t.lacking.items()),
            ]
        )
        for name, t in trajectories.items()
    ]


def _apart(trajectory: Trajectory, column: str, under: NDArray[np.float64]) -> str:
    """How far true values are from the surface, in words."""
    true = trajectory.values[column]
    apart = np.abs(true - under)
    known = np.isfinite(apart)
    if not known.any():
        return f"no true {column} to compare with the surface there"
    worst = int(np.nanargmax(np.where(known, apart, np.nan)))
    return (
        f"true {column} and the surface there differ by {np.median(apart[known]):.2g} in the "
        f"median of {known.sum()} checkpoints, {apart[worst]:.2g} at most ({true[worst]:.3g} and "
        f"{under[worst]:.3g} at {trajectory.checkpoints[worst]})"
    )


def explained(shares: Sequence[float] | NDArray[np.float64]) -> str:
    """How much the two components explain, in words."""
    first, second = shares
    return (
        f"the first two principal components explain {first:.1%} and {second:.1%} of its variance"
    )


def table(trajectory: Trajectory) -> list[str]:
    """A line for each checkpoint; those after which the learning rate dropped are marked."""
    columns: Mapping[str, NDArray[np.float64] | None] = {
        "epoch": trajectory.epoch,
        "learning rate": trajectory.learning_rate,
        "alpha": trajectory.alpha,
        "beta": trajectory.beta,
    }
    known = {name: column for name, column in columns.items() if column is not None}
    drops = set(trajectory.drops.tolist())
    rows = [
        "".join(f"{column[i]:>14.6g}" for column in known.values())
        + f"  {file}"
        + ("  (the learning rate drops after it)" if i in drops else "")
        for i, file in enumerate(trajectory.checkpoints)
    ]
    return ["".join(f"{name:>14}" for name in known) + "  checkpoint", *rows]


def wide_enough(trajectories: Sequence[Trajectory]) -> str:
    """The keys of a job file for a grid that holds trajectories."""
    axes = {"alpha": [t.alpha for t in trajectories]}
    betas = [t.beta for t in trajectories if t.beta is not None]
    if betas:
        axes["beta"] = betas
    ranges = {axis: suggested(np.concatenate(places)) for axis, places in axes.items()}
    return " ".join(
        f"--set grid.{axis}.{end}={value:g}"
        for axis, bounds in ranges.items()
        for end, value in zip(("min", "max"), bounds, strict=True)
    )

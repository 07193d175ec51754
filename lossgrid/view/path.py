"""A training run's path over a surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lossgrid.store.trajectory import Trajectory
from lossgrid.view.snapshot import Snapshot

STEPS = 4
"""Between two checkpoints, for each distance of two grid points: the path bends as the surface."""


@dataclass(frozen=True)
class SurfacePath:
    """The checkpoints, joined by straight lines of the plane, each in many points.

    Attributes:
        alpha: shape (n,). beta: likewise; 0 over a line.
        under: the surface's values there; NaN outside the grid.
        columns: `checkpoint` (its number), `is_checkpoint`, `epoch`, `learning_rate`, and for the
            column of the snapshot `true_<column>`; between checkpoints on the line between theirs.
            `surface_<column>` is `under`.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    under: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, trajectory: Trajectory, snapshot: Snapshot) -> SurfacePath:
        """The path of a trajectory over a surface."""
        numbers = np.arange(trajectory.alpha.size, dtype=np.float64)
        fine = _fine(trajectory, snapshot)

        def along(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.interp(fine, numbers, values)

        beta = None if trajectory.beta is None else along(trajectory.beta)
        points = replace(trajectory, alpha=along(trajectory.alpha), beta=beta)
        under = points.under(snapshot.alpha, snapshot.beta, snapshot.values)
        facts = {
            "checkpoint": numbers,
            "epoch": trajectory.epoch,
            "learning_rate": trajectory.learning_rate,
            f"true_{snapshot.column}": trajectory.values.get(snapshot.column),
        }
        columns = {name: along(values) for name, values in facts.items() if values is not None}
        columns["is_checkpoint"] = np.isin(fine, numbers).astype(np.float64)
        columns[f"surface_{snapshot.column}"] = under
        return cls(points.alpha, np.zeros(fine.size) if beta is None else beta, under, columns)

    def pieces(self) -> list[NDArray[np.int64]]:
        """Indices of points that follow each other on the surface; it may be left and met again."""
        there = np.flatnonzero(np.isfinite(self.under))
        return np.split(there, np.flatnonzero(np.diff(there) > 1) + 1)

    def words(self) -> str:
        """How many checkpoints it has, and how many of them lie on the surface."""
        checkpoints = self.columns["is_checkpoint"] > 0
        missing = int(np.isnan(self.under[checkpoints]).sum())
        beside = f", {missing} of them beside it and left out," if missing else ""
        return f"{checkpoints.sum()} checkpoints{beside}"


def _fine(trajectory: Trajectory, snapshot: Snapshot) -> NDArray[np.float64]:
    """Numbers of checkpoints, and fractions between them."""
    axes = [(trajectory.alpha, snapshot.alpha)]
    if trajectory.beta is not None and snapshot.beta is not None:
        axes.append((trajectory.beta, snapshot.beta))
    steps = np.ones(max(trajectory.alpha.size - 1, 0), np.int64)
    for places, grid in axes:
        if grid.size > 1:
            distance = np.abs(np.diff(places)) / (np.ptp(grid) / (grid.size - 1))
            distance = np.minimum(distance, 2 * grid.size)  # it may lead far away
            steps = np.maximum(steps, np.ceil(STEPS * distance).astype(np.int64))
    parts = [i + np.arange(n) / n for i, n in enumerate(steps.tolist())]
    return np.concatenate([*parts, [float(steps.size)]])

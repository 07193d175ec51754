"""A training run's path over the plane, as a results file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE

DROP = 0.5
"""A learning rate that falls to this share of itself or less has dropped."""


@dataclass(frozen=True)
class Trajectory:
    """Checkpoints projected onto the plane; all arrays have one entry a checkpoint.

    Attributes:
        alpha: float64, shape (n,). beta: likewise, or None over a line.
        checkpoints: the files, absolute or relative to the job's folder.
        epoch: when each was stored, if that is known.
        learning_rate: with which each was reached, likewise.
        values: column name -> the true values at the checkpoints themselves, which need not lie
            in the plane; NaN until computed, where that failed, and where that is the value.
        status: 0 pending, 1 done, 2 failed, of the true values; uint8.
        explained_variance: of a trajectory whose principal components are the directions: the
            shares of the variance that the first two explain, shape (2,).
        stamps: size in bytes and time of the last change, in ns, of each file, by which one that
            has not changed since is known: int64, shape (n, 2).
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    checkpoints: tuple[str, ...]
    epoch: NDArray[np.float64] | None
    learning_rate: NDArray[np.float64] | None
    values: Mapping[str, NDArray[np.float64]]
    status: NDArray[np.uint8]
    explained_variance: NDArray[np.float64] | None
    stamps: NDArray[np.int64] | None = None

    @property
    def drops(self) -> NDArray[np.int64]:
        """Indices of the checkpoints after which the learning rate has dropped."""
        if self.learning_rate is None:
            return np.empty(0, np.int64)
        with np.errstate(invalid="ignore"):
            dropped = self.learning_rate[1:] <= DROP * self.learning_rate[:-1]
        return np.flatnonzero(dropped)

    @property
    def unfinished(self) -> NDArray[np.int64]:
        """Indices of the checkpoints whose true values are pending or have failed."""
        return np.flatnonzero(self.status != DONE)

    @property
    def lacking(self) -> dict[str, int]:
        """How many checkpoints have true values that are no numbers, by why; no reason has 0."""
        done = self.status == DONE
        finite = np.all([np.isfinite(values) for values in self.values.values()], axis=0)
        counts = {"missing": ~done, "not finite": done & ~finite}
        return {why: int(odd.sum()) for why, odd in counts.items() if odd.any()}

    def under(
        self,
        alpha: NDArray[np.float64],
        beta: NDArray[np.float64] | None,
        values: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The surface's value under (or over) each checkpoint, bilinear between grid points.

        Args:
            alpha, beta: coordinates of the grid.
            values: of the grid, shape (ny, nx) or (nx,).

        Returns: float64, shape (n,); NaN outside the grid, and where a grid point has no value.
        """
        columns, right = _between(alpha, self.alpha)
        rows, up = np.zeros_like(columns), np.zeros_like(right)
        if beta is not None and self.beta is not None:
            rows, up = _between(beta, self.beta)
        grid = np.atleast_2d(values)
        total = np.zeros(self.alpha.size)
        for row, height in ((rows, 1 - up), (rows + 1, up)):
            for column, width in ((columns, 1 - right), (columns + 1, right)):
                share = height * width
                corner = grid[np.minimum(row, len(grid) - 1), np.minimum(column, alpha.size - 1)]
                with np.errstate(invalid="ignore"):  # 0 x infinity, which is not taken
                    total += np.where(share == 0, 0.0, share * corner)
        return total


def _between(
    axis: NDArray[np.float64], places: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(index of the grid point before each place, share of the way to the next); NaN outside."""
    before = np.clip(np.searchsorted(axis, places, side="right") - 1, 0, max(axis.size - 2, 0))
    step = np.diff(axis)[before] if axis.size > 1 else np.ones(places.size)
    share = np.where(
        (places < axis[0]) | (places > axis[-1]), np.nan, (places - axis[before]) / step
    )
    return before, share

"""Where a coarse lattice's values tell those of a finer one well enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.pointset import Points
from lossgrid.evaluate.estimate import OFFSET
from lossgrid.lattice import lattice, stencils, strides

Values = NDArray[np.float64]


class Refinement:
    """Interpolates the points of a grid, lattice by lattice, where that has proved good enough.

    What interpolation is worth at a point is seen at its parents: how far those that are new in
    their lattice were from what the next coarser one predicts there. Cubic interpolation of a
    smooth surface is 16 times better at half the distance, so this errs on the safe side. A point
    that was interpolated passes on the error of its parents.

    Args:
        shape: (ny, nx) of the grid.
        tolerance: error that every column may have, relative to the value + `OFFSET`.
    """

    def __init__(self, shape: tuple[int, int], tolerance: float) -> None:
        self._shape = shape
        self._strides = strides(*shape)
        self._tolerance = tolerance

    def interpolated(
        self, level: int, values: Values, computed: NDArray[np.bool_]
    ) -> tuple[Points, Values]:
        """The points of a lattice that need not be computed, and their values.

        Args:
            level: of the lattice, whose coarser ones are known; the coarsest two are computed.
            values: all columns, shape (columns, points), NaN where a point failed.
            computed: which points have been computed, not interpolated; shape (points,).

        Returns: flat indices, and values of shape (columns, n).
        """
        if level < 2:
            return np.empty(0, np.int64), np.empty((len(values), 0))
        grid = values.reshape(-1, *self._shape)
        errors = np.full_like(self._of(0, grid), -np.inf)  # which says that none is known
        for finer in range(1, level):
            errors = self._errors(finer, grid, computed.reshape(self._shape), errors)
        predicted = self._predicted(level, grid)
        inherited = self._spread(level, errors, np.maximum)
        with np.errstate(invalid="ignore"):
            close = inherited <= self._tolerance * (np.abs(predicted) + OFFSET)
        good = (close & (inherited >= 0) & np.isfinite(predicted)).all(axis=0) & self._new(level)
        rows, columns = (lattice(size, self._strides[level]) for size in self._shape)
        points = (rows[:, None] * self._shape[1] + columns)[good]
        return points, predicted[:, good]

    def _errors(
        self, level: int, grid: Values, computed: NDArray[np.bool_], coarser: Values
    ) -> Values:
        """What is known of interpolation at the points of a lattice that are new in it."""
        with np.errstate(invalid="ignore"):
            seen = np.abs(self._predicted(level, grid) - self._of(level, grid))
        inherited = self._spread(level, coarser, np.maximum)
        errors = np.where(self._of(level, computed), seen, inherited)
        return np.where(self._new(level), errors, -np.inf)

    def _predicted(self, level: int, grid: Values) -> Values:
        return self._spread(level, self._of(level - 1, grid), np.add)

    def _spread(self, level: int, coarser: Values, join: Callable[..., Values]) -> Values:
        """From a lattice to the next finer: the weighted sum, or the maximum, over parents."""
        found = coarser
        for axis, size in zip((1, 2), self._shape, strict=True):
            nodes, weights = stencils(size, *self._strides[level - 1 : level + 1])
            along = (-1, 1) if axis == 1 else (-1,)
            total: Values | None = None
            for number, weight in zip(nodes.T, weights.T, strict=True):
                part = np.take(found, number, axis=axis)
                with np.errstate(invalid="ignore"):  # infinite values
                    part = part * weight.reshape(along) if join is np.add else part
                    total = part if total is None else join(total, part)
            assert total is not None
            found = total
        return found

    def _of(self, level: int, grid: NDArray[Any]) -> NDArray[Any]:
        """What lies on a lattice: the last two axes are rows and columns of the grid."""
        rows, columns = (lattice(size, self._strides[level]) for size in self._shape)
        part: NDArray[Any] = grid[..., rows[:, None], columns]
        return part

    def _new(self, level: int) -> NDArray[np.bool_]:
        """Which points of a lattice the next coarser one does not have."""
        old = np.zeros(self._shape, bool)
        rows, columns = (lattice(size, self._strides[level - 1]) for size in self._shape)
        old[rows[:, None], columns] = True
        return ~self._of(level, old)

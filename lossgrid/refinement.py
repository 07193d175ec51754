"""Where a coarse lattice's values tell those of a finer one well enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.pointset import Points
from lossgrid.lattice import level_of, level_rows, parents

OFFSET = 0.01
"""Added to the value that an error is relative to, so that a value of 0 can be interpolated."""

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
        errors = np.full(values.shape[1], np.nan)  # of the interpolation of each point
        for finer in range(1, level):
            for point in self._points(finer):
                error = self._inherited(errors, point, finer)
                if computed[point]:
                    predicted = self._predicted(values, point)
                    scale = np.abs(values[:, point]) + OFFSET
                    with np.errstate(invalid="ignore"):
                        error = float((np.abs(predicted - values[:, point]) / scale).max())
                errors[point] = error
        if level < 2:
            return np.empty(0, np.int64), np.empty((len(values), 0))
        chosen = [
            point
            for point in self._points(level)
            if self._inherited(errors, point, level) <= self._tolerance
        ]
        found = [self._predicted(values, point) for point in chosen]
        return np.array(chosen, np.int64), np.array(found).reshape(-1, len(values)).T

    def _points(self, level: int) -> list[int]:
        return [point for row in level_rows(*self._shape, level) for point in row.tolist()]

    def _predicted(self, values: Values, point: int) -> Values:
        points, weights = parents(*self._shape, point)
        predicted: Values = values[:, points] @ weights
        return predicted

    def _inherited(self, errors: Values, point: int, level: int) -> float:
        """The largest error among the parents that are new in their lattice; NaN if one is."""
        points, _ = parents(*self._shape, point)
        new = [p for p in points.tolist() if level_of(*self._shape, p) == level - 1]
        return float(errors[new].max()) if level > 1 else np.nan

"""What a results file holds, counted again and again while a run is at work on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED
from lossgrid.lattice import lattice, strides
from lossgrid.store import layout
from lossgrid.store.results import Results, bands, opened

MOST_KEPT = 512
"""Points an axis whose values are kept."""

CALL_BYTES = 65536
"""What lies between two rows is read with them if it is less: a call costs as much."""


class Tally:
    """Counts of a results file, its best value, and its surface thinned out.

    Status and number of tries, one byte a point each, are read whole at each `update` and kept;
    of everything else only the rows that have changed since.

    Args:
        results: the file.
        column: whose best value is looked for, and whose values are kept.
        largest: whether the best value is the largest.

    Attributes:
        status: of each point, uint8, of the shape in which they are stored.
        tries: how often a point was computed, over all points and runs.
        rank_points: how many of these were on each rank, int64, shape (ranks,).
        rank_seconds: how long they took there, float64, shape (ranks,).
        best: flat index of the best finite value; None while there is none.
        best_value: that value.
        errors: message of each failed point, by its flat index, as far as they found room.
        stride: spacing of the lattice whose values are kept; it holds all coarser ones.
        kept: indices of its points along each axis.
        values: of its points, NaN where pending or failed.
    """

    def __init__(self, results: Results, column: str, largest: bool) -> None:
        self.results = results
        self.column = column
        self._sign = -1.0 if largest else 1.0
        shape = results.stored_shape
        self.status = np.zeros(shape, np.uint8)
        self._tries = np.zeros(shape, np.uint8)
        self.tries = 0
        self.rank_points = np.zeros(0, np.int64)
        self.rank_seconds = np.zeros(0)
        self.best: int | None = None
        self.best_value = math.nan
        self.errors: dict[int, str] = {}
        self.stride = 1
        while max(shape) > self.stride * MOST_KEPT:
            self.stride *= 2
        self.kept = [lattice(size, self.stride) for size in shape]
        self.values = np.full([axis.size for axis in self.kept], np.nan)

    def update(self) -> None:
        """Take in what has come since the last time.

        Raises:
            UserError: the file can't be read.
        """
        failures = False
        with opened(self.results.path) as file:
            for band in bands(self.results.stored_shape):
                # A value is written before its status, so what is done is there.
                status, tries = file[layout.STATUS][band], file[layout.TRIES][band]
                changed = (status != self.status[band]) | (tries != self._tries[band])
                for rows in _runs(changed):
                    at = slice(band.start + rows.start, band.start + rows.stop)
                    failed = (status[rows] == FAILED) | (self.status[at] == FAILED)
                    failures |= bool((changed[rows] & failed).any())
                    more = tries[rows].astype(np.int64) - self._tries[at]
                    self.tries += int(more.sum())
                    self._take(file, at, status[rows], changed[rows], more > 0)
                    self.status[at], self._tries[at] = status[rows], tries[rows]
        if failures:
            self.errors = self.results.errors()

    def count(self, status: int) -> int:
        """How many points have a status."""
        return int(np.count_nonzero(self.status == status))

    def lattices(self) -> list[int]:
        """Spacings of the lattices that a run goes through, coarsest first."""
        return strides(*self._plane)

    def on_lattice(self, stride: int) -> NDArray[np.uint8]:
        """Status of the points of a lattice, 2-D."""
        plane = self.status.reshape(self._plane)
        if stride == 1:
            return plane
        rows, columns = (lattice(size, stride) for size in self._plane)
        return plane[rows].take(columns, axis=1)

    @property
    def _plane(self) -> tuple[int, int]:
        """(ny, nx); a line is one row."""
        shape = self.results.shape
        return (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])

    def _take(
        self,
        file: Any,
        rows: slice,
        status: NDArray[np.uint8],
        changed: NDArray[np.bool_],
        tried: NDArray[np.bool_],
    ) -> None:
        """Take in some rows, from arrays with an entry for each of their points."""
        if tried.any():
            self._add_times(file[layout.RANK][rows][tried], file[layout.SECONDS][rows][tried])
        settled = (status == DONE) | (status == INTERPOLATED)
        values = np.where(settled, file[layout.value_dataset(self.column)][rows], np.nan)
        self._improve(np.where(changed, values, np.nan), rows.start * math.prod(status.shape[1:]))
        begin, end = np.searchsorted(self.kept[0], [rows.start, rows.stop])
        inside = np.ix_(self.kept[0][begin:end] - rows.start, *self.kept[1:])
        self.values[begin:end] = values[inside]

    def _add_times(self, ranks: NDArray[np.int32], seconds: NDArray[np.float32]) -> None:
        if ranks.max() >= self.rank_points.size:
            more = int(ranks.max()) + 1 - self.rank_points.size
            self.rank_points = np.append(self.rank_points, np.zeros(more, np.int64))
            self.rank_seconds = np.append(self.rank_seconds, np.zeros(more))
        size = self.rank_points.size
        self.rank_points += np.bincount(ranks, minlength=size)
        self.rank_seconds += np.bincount(ranks, seconds, minlength=size)

    def _improve(self, values: NDArray[np.float64], first: int) -> None:
        """See if a better value is among some, of which `first` is the first one's flat index."""
        costs = np.where(np.isfinite(values), self._sign * values, np.inf).ravel()
        place = int(costs.argmin())
        if costs[place] < (math.inf if self.best is None else self._sign * self.best_value):
            self.best, self.best_value = first + place, float(values.flat[place])


def _runs(changed: NDArray[np.bool_]) -> list[slice]:
    """Consecutive rows, to be read at once, that hold all points that have changed."""
    rows = np.flatnonzero(changed.reshape(len(changed), -1).any(axis=1))
    if not rows.size:
        return []
    gap = max(CALL_BYTES // (8 * math.prod(changed.shape[1:])), 1)
    parts = np.split(rows, np.flatnonzero(np.diff(rows) > gap) + 1)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]

"""What a landscape looks like in few cells, coarse to fine while it is computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED
from lossgrid.lattice import lattice
from lossgrid.store.tally import Tally
from lossgrid.view.scale import scale_for
from lossgrid.view.snapshot import is_fraction, steepness

SHADES = 64
"""From the lowest value to the highest."""

BLANK, ODD, MISSED, BEST = -1, -2, -3, -4
"""Cells without a shade: nothing is known, not finite, failed, the best value."""

Cells = NDArray[np.int64]
"""Shades, SHADES more where they are guessed, or BLANK and so on; shape (rows, columns)."""


class Preview:
    """A tally as a picture of few cells, the upper row first.

    Args:
        tally: what is known.

    Attributes:
        axes: those with more than one point, by name, alpha first; alpha if there is none.
        scale: of the values; None while none is finite.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        results = tally.results
        axes = {"alpha": results.alpha, "beta": results.beta}
        self.axes = {name: a for name, a in axes.items() if a is not None and a.size > 1}
        self.axes = self.axes or {"alpha": results.alpha}
        finite = tally.values[np.isfinite(tally.values)]
        fraction = is_fraction(tally.column)
        self.scale = scale_for(finite, fraction=fraction) if finite.size else None

    def plane(self, width: int, height: int, tall: float) -> Cells:
        """A plane in its true shape, as large as there is room.

        A point that is not known looks like the nearest one of the finest lattice that knows its
        own there.

        Args:
            width, height: room, in cells.
            tall: height of a cell over its width.
        """
        tally, grid = self.tally, self.tally.results.shape
        shape = self._fit(width, height, tall)
        found = np.full(shape, BLANK)
        for stride in tally.lattices():
            if stride < tally.stride:
                break
            near = [_nearest(cells, n, stride) for cells, n in zip(shape, grid, strict=True)]
            status = tally.status[np.ix_(*near)]
            at = [
                np.searchsorted(kept, nodes) for kept, nodes in zip(tally.kept, near, strict=True)
            ]
            shades = self._shades(tally.values[np.ix_(*at)])
            if stride > tally.stride:
                shades = np.where(shades >= 0, shades + SHADES, shades)
            found = np.where(_is_known(status), shades, found)
        found[status == FAILED] = MISSED
        for mark, points in self._marked():
            rows, columns = np.unravel_index(points, grid)
            found[_cell(rows, grid[0], shape[0]), _cell(columns, grid[1], shape[1])] = mark
        return found[::-1]

    def line(self, width: int, height: int) -> NDArray[np.bool_]:
        """The curve of a line, from each known point to the next.

        Args:
            width, height: room, in dots.

        Returns: which dots to set, shape (height, width).
        """
        status, kept = self.tally.status.ravel(), max(self.tally.kept, key=len)
        known = _is_known(status[kept])
        shares = self._shares(self.tally.values.ravel()[known])
        if not known.any():
            return np.zeros((height, width), bool)
        across = kept[known] * (width - 1) / max(status.size - 1, 1)
        levels = np.interp(np.arange(width), across, shares, left=np.nan, right=np.nan)
        rows = np.rint((height - 1) * (1 - levels))
        before = np.append(rows[:1], rows[:-1])
        before = np.where(np.isnan(before), rows, before)
        every = np.arange(height)[:, None]
        dots: NDArray[np.bool_] = (every >= np.minimum(rows, before)) & (
            every <= np.maximum(rows, before)
        )
        finite = np.isfinite(shares)
        own = (height - 1) * (1 - shares[finite]), across[finite]
        dots[tuple(np.rint(places).astype(int) for places in own)] = True
        return dots

    def marks(self, width: int) -> Cells:
        """What to mark along a line: shape (width,)."""
        found = np.full(width, BLANK)
        for mark, points in self._marked():
            found[_cell(points, self.tally.status.size, width)] = mark
        return found

    def _marked(self) -> list[tuple[int, NDArray[np.int64]]]:
        """The points that a picture of any size must show."""
        best = [] if self.tally.best is None else [self.tally.best]
        failed = np.flatnonzero(self.tally.status == FAILED)
        return [(MISSED, failed), (BEST, np.array(best, np.int64))]

    def _fit(self, width: int, height: int, tall: float) -> tuple[int, int]:
        """Rows and columns of cells."""
        ratio = steepness(*self.axes.values())
        if ratio is None:
            return height, width
        rows = width * ratio / tall
        if rows <= height:
            return max(round(rows), 1), width
        return height, max(round(height * tall / ratio), 1)

    def _shades(self, values: NDArray[np.float64]) -> Cells:
        shares = self._shares(values)
        odd = np.isnan(shares)
        return np.where(odd, ODD, np.rint(np.where(odd, 0, shares) * (SHADES - 1))).astype(int)

    def _shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where in the scale values lie, 0 to 1; NaN where they are not finite."""
        shares = np.full(values.shape, np.nan)
        finite = np.isfinite(values)
        if self.scale is not None:
            low, high = self.scale.low, self.scale.high
            shown = values[finite].clip(low, high)
            if self.scale.constant:
                shares[finite] = 0.5
            elif self.scale.logarithmic:
                shares[finite] = np.log(shown / low) / np.log(high / low)
            else:
                shares[finite] = (shown - low) / (high - low)
        return shares


def _is_known(status: NDArray[np.uint8]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = (status == DONE) | (status == INTERPOLATED)
    return known


def _nearest(cells: int, points: int, stride: int) -> NDArray[np.int64]:
    """The node of a lattice that is nearest to each cell's middle."""
    middles = (np.arange(cells) + 0.5) * points / cells - 0.5
    nodes = lattice(points, stride)
    return nodes[np.searchsorted((nodes[1:] + nodes[:-1]) / 2, middles)]


def _cell(points: NDArray[np.int64], size: int, cells: int) -> NDArray[np.int64]:
    """In which cell each point of an axis lies."""
    return (2 * points + 1) * cells // (2 * size)

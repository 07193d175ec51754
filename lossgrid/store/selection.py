"""Where in a dataset some points lie, as few pieces that HDF5 reads and writes at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR = 32
"""Points so near to each other are in one stretch: what lies between costs less than a write."""

STRETCHES = 128
"""At once: HDF5 takes ever longer to join more of them to a selection."""


class Selection:
    """Stretches of a dataset's rows that hold some points, and room for as many values in memory.

    Args:
        shape: of the dataset.
        points: flat indices, ascending, int64.
        starts: where in `points` each stretch begins.
    """

    def __init__(
        self, shape: tuple[int, ...], points: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> None:
        from h5py import h5s

        firsts = points[starts]
        lengths = points[np.append(starts[1:], points.size) - 1] - firsts + 1
        offsets = np.cumsum(lengths) - lengths
        counts = np.diff(starts, append=points.size)
        self.places = points - np.repeat(firsts - offsets, counts)
        self.size = int(lengths.sum())
        self.is_full = self.size == points.size
        """Whether the stretches hold nothing but the points."""
        self.memory = h5s.create_simple((self.size,))
        self.file = h5s.create_simple(shape)
        self.file.select_none()
        corners = np.stack(np.unravel_index(firsts, shape), axis=1).tolist()
        one = (1,) * len(shape)
        for corner, length in zip(map(tuple, corners), lengths.tolist(), strict=True):
            stretch = (*one[1:], length)
            self.file.select_hyperslab(corner, one, block=stretch, op=h5s.SELECT_OR)

    def read(self, dataset: Any) -> NDArray[Any]:
        """What an open dataset holds in all stretches."""
        found = np.empty(self.size, dataset.dtype)
        dataset.read(self.memory, self.file, found)
        return found

    def get(self, dataset: Any) -> NDArray[Any]:
        """What it holds at the points."""
        found: NDArray[Any] = self.read(dataset)[self.places]
        return found

    def put(self, dataset: Any, values: NDArray[Any] | float) -> None:
        """Store a value at each point; what lies between them is written as it is there."""
        stretches = np.empty(self.size, dataset.dtype) if self.is_full else self.read(dataset)
        stretches[self.places] = values
        dataset.write(self.memory, self.file, stretches)


def selections(
    shape: tuple[int, ...], points: NDArray[np.int64], near: int = NEAR
) -> Iterator[tuple[slice, Selection]]:
    """Yield parts of the points, and where these lie.

    Args:
        shape: of the dataset; rows are along its last axis.
        points: flat indices, each once, ascending, int64.
        near: how far apart neighbours in a stretch may be; 1 where others may be writing what lies
            between.
    """
    if not points.size:
        return
    rows = points // shape[-1]
    apart = (points[1:] - points[:-1] > near) | (rows[1:] > rows[:-1])
    starts = np.append(0, np.flatnonzero(apart) + 1)
    for begin in range(0, starts.size, STRETCHES):
        some = starts[begin : begin + STRETCHES]
        after = begin + STRETCHES
        part = slice(int(some[0]), int(starts[after]) if after < starts.size else points.size)
        yield part, Selection(shape, points[part], some - some[0])

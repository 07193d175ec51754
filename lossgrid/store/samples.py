"""Per-sample values of lattice points, which the estimates at finer points build upon.

A file beside the results while they are incomplete. Every rank writes the points that it has
evaluated, each to a place of its own, and reads those of coarser lattices, which were complete when
it opened the file: so it may lie on a network file system.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import StorageError
from lossgrid.evaluate.estimate import MOST, Known
from lossgrid.lattice import parent_index
from lossgrid.store.disk import reason

TOKEN_BYTES = 32

Sizes = Sequence[tuple[int, int]]
"""Number of metrics and samples of each split."""


def samples_path(output: Path) -> Path:
    """Where the per-sample values of a results file are."""
    return output.with_name(output.name + ".samples")


def begin_samples(path: Path, owner: str) -> None:
    """See that there is a file of a results file's own; what another has left is dropped.

    Args:
        path: of the file.
        owner: a text that no two results files share.

    Raises:
        StorageError: it can't be made.
    """
    token = hashlib.blake2b(owner.encode(), digest_size=TOKEN_BYTES).digest()
    with _storing(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if os.pread(file, TOKEN_BYTES, 0) != token:
                os.ftruncate(file, 0)
                os.pwrite(file, token, 0)
        finally:
            os.close(file)


class SampleFile:
    """What is known of each split at the points that finer ones are estimated from.

    The file is sparse: what a point did not use takes no room on the disk.

    Args:
        path: of the file; `begin_samples` makes it.
        shape: (ny, nx) of the grid.
        sizes: of the splits.

    Raises:
        StorageError: from every method, if the disk or the network fails.
    """

    def __init__(self, path: Path, shape: tuple[int, int], sizes: Sizes) -> None:
        self.path = path
        self._shape = shape
        self._records = [Record(metrics, samples) for metrics, samples in sizes]
        self._file = -1

    def open(self) -> None:
        """See what all ranks have stored before they closed it."""
        with _storing(self.path):
            self._file = os.open(self.path, os.O_RDWR)

    def keep(self, point: int, splits: Sequence[Known]) -> None:
        """Store what is known at a point; nothing if no other point needs it.

        It is there as a whole or not at all, also after a kill: the header is written last.
        """
        places = self._places(point)
        with _storing(self.path):
            for record, place, known in zip(self._records, places, splits, strict=bool(places)):
                record.write(self._file, place, known)

    def recall(self, point: int) -> list[Known] | None:
        """What is known of each split at a point; none if that is not stored."""
        with _storing(self.path):
            found = [
                record.read(self._file, place)
                for record, place in zip(self._records, self._places(point), strict=False)
            ]
        known = [one for one in found if one is not None]
        return known if len(known) == len(self._records) else None

    def has(self, point: int) -> bool:
        """Whether what is known at a point is stored."""
        return self.recall(point) is not None

    def close(self) -> None:
        """Let other hosts see what was written."""
        with _storing(self.path):
            try:
                os.fsync(self._file)
            finally:
                os.close(self._file)

    def _places(self, point: int) -> list[int]:
        """Where the records of a point begin; nowhere if no other point needs it."""
        index = parent_index(*self._shape, point)
        if index is None:
            return []
        sizes = np.cumsum([0, *(record.size for record in self._records)]).tolist()
        return [TOKEN_BYTES + index * sizes[-1] + size for size in sizes[:-1]]


@dataclass(frozen=True)
class Record:
    """The room for one split at one point.

    It begins with a header, float64: how many samples were used, how far the influence reaches,
    and the means. Then come, metric by metric, values and influence, float32.
    """

    metrics: int
    samples: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self._influence_at(self.metrics)

    def write(self, file: int, place: int, known: Known) -> None:
        """Store what is known."""
        for metric in range(self.metrics):
            _write(file, known.values[metric].astype("<f4"), place + self._values_at(metric))
            _write(file, known.influence[metric].astype("<f4"), place + self._influence_at(metric))
        header = [known.values.shape[1], known.influence.shape[1], *known.mean]
        _write(file, np.array(header, "<f8"), place)

    def read(self, file: int, place: int) -> Known | None:
        """What is known; none if nothing is stored."""
        header = _read(file, place, 2 + self.metrics, "<f8")
        used, reach = int(header[0]), int(header[1])
        if not used:
            return None
        metrics = range(self.metrics)
        values = [_read(file, place + self._values_at(metric), used, "<f4") for metric in metrics]
        influence = [
            _read(file, place + self._influence_at(metric), reach, "<f4") for metric in metrics
        ]
        return Known(header[2:], np.stack(values), np.stack(influence))

    def _values_at(self, metric: int) -> int:
        return 8 * (2 + self.metrics) + 4 * self.samples * metric

    def _influence_at(self, metric: int) -> int:
        return self._values_at(self.metrics) + 4 * int(MOST * self.samples) * metric


def _write(file: int, array: NDArray[Any], place: int) -> None:
    data = memoryview(array.tobytes())
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written


def _read(file: int, place: int, count: int, kind: str) -> NDArray[np.float64]:
    """Numbers from the file; zeros where nothing has been written."""
    array = np.zeros(count, kind)
    data = os.pread(file, array.nbytes, place)
    array.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
    return array.astype(np.float64)


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: per-sample values can't be kept there: {reason(error)}; with "
            "evaluation.tolerance every rank needs the output's folder: see that all share it and "
            "that it has room, then run the same command again"
        ) from error

"""Per-sample values of lattice points, which the estimates at finer points build upon.

A file beside the results while they are incomplete. Every rank writes the points that it has
evaluated, each to a place of its own, and reads those of coarser lattices, which were complete when
it opened the file: so it may lie on a network file system that keeps what was synced.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zlib
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

PAGE = 4096
"""Bytes. No two points share a page: a network file system may write whole pages."""

TOKEN_BYTES = 32

Sizes = Sequence[tuple[int, int]]
"""Number of metrics and samples of each split."""


def samples_path(output: Path) -> Path:
    """Where the per-sample values of a results file are."""
    return output.with_name(output.name + ".samples")


def _token(owner: str) -> bytes:
    return hashlib.blake2b(owner.encode(), digest_size=TOKEN_BYTES).digest()


class SampleFile:
    """What is known of each split at the points that finer ones are estimated from.

    The file is sparse: what a point did not use takes no room on the disk.

    Args:
        path: of the file; `begin` makes it.
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
        self._owner = ""

    def begin(self, owner: str) -> None:
        """See that there is a file of a results file's own; what another has left is dropped.

        Args:
            owner: a text that no two results files share.
        """
        with _storing(self.path):
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not self._is_whole(file, owner):
                    os.ftruncate(file, 0)
                    for place in (0, self.most_bytes):
                        _write(file, np.frombuffer(_token(owner), np.uint8), place)
                    os.fsync(file)
            finally:
                os.close(file)

    def open(self, owner: str) -> None:
        """See what all ranks have stored before they closed it.

        Args:
            owner: see `begin`.
        """
        with _storing(self.path):
            self._owner = owner
            self._file = os.open(self.path, os.O_RDWR)
            try:
                self._check_whole()
            except OSError:
                os.close(self._file)
                raise

    def _check_whole(self) -> None:
        if not self._is_whole(self._file, self._owner):
            said = "it has been cut short, belongs to another job, or is another host's"
            raise OSError(errno.ESTALE, said)

    def _is_whole(self, file: int, owner: str) -> bool:
        """Whether a file is of this owner, and nobody has cut it since: its end says so, too."""
        ends = [os.pread(file, TOKEN_BYTES, place) for place in (0, self.most_bytes)]
        return ends == [_token(owner)] * 2

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
            if len(known) == len(self._records):
                return known
            self._check_whole()  # else it is not there since the point has failed
            return None

    def has(self, point: int) -> bool:
        """Whether what is known at a point is stored."""
        with _storing(self.path):
            places = self._places(point)
            return bool(places) and all(_read(self._file, place, 1, "<f8")[0] for place in places)

    def close(self) -> None:
        """Let other hosts see what was written, and see that it still is there."""
        with _storing(self.path):
            try:
                os.fsync(self._file)
                self._check_whole()
            finally:
                os.close(self._file)

    def _places(self, point: int) -> list[int]:
        """Where the records of a point begin; nowhere if no other point needs it."""
        index = parent_index(*self._shape, point)
        if index is None:
            return []
        sizes = np.cumsum([0, *(record.size for record in self._records)]).tolist()
        return [PAGE + index * self._whole + size for size in sizes[:-1]]

    @property
    def most_bytes(self) -> int:
        """What the file takes on the disk if every point uses as many samples as are kept.

        There its end is marked.
        """
        ny, nx = self._shape
        last = parent_index(ny, nx, ny * nx - 1)
        return PAGE + (0 if last is None else (last + 1) * self._whole)

    @property
    def _whole(self) -> int:
        """Bytes of all records of a point: whole pages."""
        return -(-sum(record.size for record in self._records) // PAGE) * PAGE


@dataclass(frozen=True)
class Record:
    """The room for one split at one point.

    It begins with a header, float64: how many samples are kept, how far the influence reaches, a
    checksum, and the means. Then come, metric by metric, values and influence, float32.
    """

    metrics: int
    samples: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self._influence_at(self.metrics)

    def write(self, file: int, place: int, known: Known) -> None:
        """Store what is known, of at most `MOST` of the samples: more are of no use to others."""
        values = known.values[:, : self._most].astype("<f4")
        influence = known.influence.astype("<f4")
        for metric in range(self.metrics):
            _write(file, values[metric], place + self._values_at(metric))
            _write(file, influence[metric], place + self._influence_at(metric))
        sizes = [values.shape[1], influence.shape[1], _checksum(values, influence)]
        _write(file, np.array([*sizes, *known.mean], "<f8"), place)

    def read(self, file: int, place: int) -> Known | None:
        """What is known; none if nothing is stored, or not all of it."""
        header = _read(file, place, 3 + self.metrics, "<f8")
        used, reach = int(header[0]), int(header[1])
        if not used:
            return None
        metrics = range(self.metrics)
        values = np.stack([_read(file, place + self._values_at(m), used, "<f4") for m in metrics])
        influence = np.stack(
            [_read(file, place + self._influence_at(m), reach, "<f4") for m in metrics]
        )
        if _checksum(values, influence) != header[2]:
            return None
        return Known(header[3:], values.astype(np.float64), influence.astype(np.float64))

    @property
    def _most(self) -> int:
        return max(int(MOST * self.samples), 1)

    def _values_at(self, metric: int) -> int:
        return 8 * (3 + self.metrics) + 4 * self._most * metric

    def _influence_at(self, metric: int) -> int:
        return self._values_at(self.metrics) + 4 * self._most * metric


def _checksum(*arrays: NDArray[Any]) -> int:
    total = 0
    for array in arrays:
        total = zlib.crc32(array.tobytes(), total)
    return total


def _write(file: int, array: NDArray[Any], place: int) -> None:
    data = memoryview(array.tobytes())
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written


def _read(file: int, place: int, count: int, kind: str) -> NDArray[Any]:
    """Numbers from the file; zeros where nothing has been written."""
    array = np.zeros(count, kind)
    data = os.pread(file, array.nbytes, place)
    array.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
    return array


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: per-sample values can't be kept there: {error.strerror or error}; with "
            "evaluation.tolerance every rank needs the output's folder: see that all share it and "
            "that it has room, then run the same command again"
        ) from error

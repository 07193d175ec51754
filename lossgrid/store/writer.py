"""Storing computed points, such that a kill right afterwards loses none."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED, Result
from lossgrid.store import layout
from lossgrid.store.disk import Syncing, rewrite_first_byte, storing
from lossgrid.store.selection import NEAR, Selection, selections

if TYPE_CHECKING:
    from mpi4py import MPI


class PointWriter:
    """Writes points straight into the datasets of an existing results file.

    Datasets are contiguous and allocated, and HDF5's sieve buffer is off, so that every write is a
    system call at once: what `write` has stored survives the death of this process. Values go
    first, the status last, so that a point which is done has its values; a failure writes none.
    Against power loss the disk is asked to take everything every `sync_seconds`.

    Args:
        path: the results file.
        columns: value columns, in the order of `Result.values`.
        sync_seconds: time between two fsync calls.
        comm: opens the file with the mpio driver on every rank of it (collective, as is closing).
        epoch: of the plan that points are computed with.

    Raises:
        UserError: here and from every method, if the disk does not take it.
    """

    def __init__(
        self,
        path: Path,
        columns: tuple[str, ...],
        sync_seconds: float = 30.0,
        comm: MPI.Comm | None = None,
        epoch: int = 0,
    ) -> None:
        from h5py import h5d, h5f, h5p

        access = h5p.create(h5p.FILE_ACCESS)
        access.set_sieve_buf_size(0)
        access.set_libver_bounds(h5f.LIBVER_EARLIEST, h5f.LIBVER_V18)
        if comm is not None:
            from mpi4py import MPI

            access.set_fapl_mpio(comm, MPI.INFO_NULL)
        self._path = path
        self._columns = columns
        self._epoch = epoch
        names = [*map(layout.value_dataset, columns), *layout.POINT_RECORDS]
        names += [layout.STATUS, layout.ERRORS]
        with storing(path):
            self._file = h5f.open(os.fsencode(path), h5f.ACC_RDWR, access)
            self._datasets = {name: h5d.open(self._file, name.encode()) for name in names}
        self._shape = self._datasets[layout.STATUS].shape
        self._near = NEAR if comm is None else 1  # others write what lies between
        self._syncing = Syncing(path, sync_seconds)

    def write(self, results: list[Result]) -> None:
        """Store points: values, records, then status. Results without values are stored already."""
        stored = [result for result in results if result.values is not None]
        if stored:
            batch = _together(stored)
            failed = batch.status == FAILED
            with storing(self._path):
                for part, select in self._selections(batch.only(~failed)):
                    self._store_values(part, select)
                for part, select in self._selections(batch.only(failed)):
                    self._store_failures(part, select)
                self._syncing.soon()

    def _selections(self, batch: Batch) -> Iterator[tuple[Batch, Selection]]:
        batch = batch.only(np.unique(batch.points, return_index=True)[1])
        for part, select in selections(self._shape, batch.points, self._near):
            yield batch.only(part), select

    def _store_values(self, done: Batch, select: Selection) -> None:
        """Replaces a failure of another rank at the same point, whenever that came."""
        for column, name in enumerate(self._columns):
            select.put(self._datasets[layout.value_dataset(name)], done.values[:, column])
        select.put(self._datasets[layout.EPOCH], self._epoch)
        self._record(done, select)

    def _store_failures(self, failed: Batch, select: Selection) -> None:
        """Leaves values alone: another rank may be storing them just now, and its own status next.

        Whichever status comes last, a point that is done has its values.
        """
        failed = failed.only(self._status(select) != DONE)
        for part, those in self._selections(failed):
            self._record(part, those)

    def _status(self, select: Selection) -> NDArray[np.uint8]:
        return select.get(self._datasets[layout.STATUS])

    def _record(self, batch: Batch, select: Selection) -> None:
        select.put(self._datasets[layout.RANK], batch.ranks)
        select.put(self._datasets[layout.SECONDS], batch.seconds)
        tries = self._datasets[layout.TRIES]
        select.put(tries, np.minimum(select.get(tries), 254) + 1)
        select.put(self._datasets[layout.STATUS], batch.status)

    def write_interpolated(self, points: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Store points that nobody has computed: values of shape (columns, n), then status.

        Points are ascending.
        """
        with storing(self._path):
            for part, select in selections(self._shape, points, self._near):
                for name, column in zip(self._columns, values, strict=True):
                    select.put(self._datasets[layout.value_dataset(name)], column[part])
                select.put(self._datasets[layout.STATUS], INTERPOLATED)

    def stored(self) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """All values, shape (columns, points), and the status of every point."""
        from h5py import h5s

        points = math.prod(self._shape)
        values = np.empty((len(self._columns), points))
        status = np.empty(points, np.uint8)
        with storing(self._path):
            for name, column in zip(self._columns, values, strict=True):
                self._datasets[layout.value_dataset(name)].read(h5s.ALL, h5s.ALL, column)
            self._datasets[layout.STATUS].read(h5s.ALL, h5s.ALL, status)
        return values, status

    def write_errors(self, errors: Mapping[int, tuple[int, str]]) -> None:
        """Store messages of failed points: row of the table -> (point, message)."""
        rows = np.array(sorted(errors))
        records = [(point, _cut(message)) for point, message in map(errors.__getitem__, rows)]
        with storing(self._path):
            for part, select in selections((layout.ERROR_ROWS,), rows, self._near):
                table = np.array(records[part], layout.ERROR_RECORD)
                select.put(self._datasets[layout.ERRORS], table)

    def sync(self) -> None:
        """Have the disk take all that was written, and see that it still takes anything."""
        with storing(self._path):
            self._syncing.wait()
            rewrite_first_byte(self._path)

    def close(self) -> None:
        """Close; with mpio every rank must come here, after all have synced.

        HDF5 then writes the file's head on one rank, and where that fails the others wait for it
        for ever.
        """
        with storing(self._path):
            for dataset in self._datasets.values():
                dataset.close()
            self._file.close()

    def __enter__(self) -> PointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, Exception):  # an interrupted process waits for nobody
            try:
                self.sync()
            finally:
                self.close()


class Batch(NamedTuple):
    """Results of several chunks together: arrays with an entry a point."""

    points: NDArray[np.int64]
    values: NDArray[np.float64]
    ranks: NDArray[np.int64]
    seconds: NDArray[np.float32]
    status: NDArray[np.uint8]

    def only(self, chosen: slice | NDArray[np.bool_ | np.int64]) -> Batch:
        """Some of the points."""
        return Batch._make(array[chosen] for array in self)


def _together(results: list[Result]) -> Batch:
    parts = (
        (r.points, r.values, np.full_like(r.points, r.rank), r.seconds, r.status) for r in results
    )
    return Batch._make(map(np.concatenate, zip(*parts, strict=True)))


def _cut(message: str) -> bytes:
    width = layout.ERROR_RECORD["message"].itemsize
    return message.encode(errors="replace")[:width].decode(errors="ignore").encode()


def parallel_hdf5() -> bool:
    """Whether h5py can open one file on many ranks."""
    import h5py

    return bool(h5py.get_config().mpi)

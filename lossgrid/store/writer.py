"""Storing computed points, such that a kill right afterwards loses none."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED, Result
from lossgrid.store import layout
from lossgrid.store.disk import Syncing, rewrite_first_byte, storing

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
        self._syncing = Syncing(path, sync_seconds)

    def write(self, results: list[Result]) -> None:
        """Store points: values, records, then status. Results without values are stored already."""
        stored = [result for result in results if result.values is not None]
        if stored:
            batch = _together(stored)
            failed = batch.status == FAILED
            with storing(self._path):
                self._store_values(batch.only(~failed))
                self._store_failures(batch.only(failed))
                self._syncing.soon()

    def _store_values(self, done: Batch) -> None:
        """Replaces a failure of another rank at the same point, whenever that came."""
        if done.points.size:
            select = Selection(self._shape, done.points)
            for column, name in enumerate(self._columns):
                self._put(layout.value_dataset(name), select, done.values[:, column])
            self._put(layout.EPOCH, select, np.full(done.points.size, self._epoch))
            self._record(done, select)

    def _store_failures(self, failed: Batch) -> None:
        """Leaves values alone: another rank may be storing them just now, and its own status next.

        Whichever status comes last, a point that is done has its values.
        """
        if failed.points.size:
            status = self._get(layout.STATUS, Selection(self._shape, failed.points))
            failed = failed.only(status != DONE)
        if failed.points.size:
            self._record(failed, Selection(self._shape, failed.points))

    def _record(self, batch: Batch, select: Selection) -> None:
        self._put(layout.RANK, select, batch.ranks)
        self._put(layout.SECONDS, select, batch.seconds)
        attempts = self._get(layout.TRIES, select)
        self._put(layout.TRIES, select, np.minimum(attempts, 254) + 1)
        self._put(layout.STATUS, select, batch.status)

    def _get(self, name: str, select: Selection) -> NDArray[np.uint8]:
        found = np.empty(select.size, np.uint8)
        self._datasets[name].read(select.memory, select.file, found)
        return found

    def _put(self, name: str, select: Selection, data: NDArray[Any]) -> None:
        dataset = self._datasets[name]
        dataset.write(select.memory, select.file, np.ascontiguousarray(data, dataset.dtype))

    def write_interpolated(self, points: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Store points that nobody has computed: values of shape (columns, n), then status."""
        if points.size:
            with storing(self._path):
                select = Selection(self._shape, points)
                for name, column in zip(self._columns, values, strict=True):
                    self._put(layout.value_dataset(name), select, column)
                self._put(layout.STATUS, select, np.full(points.size, INTERPOLATED))

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
        records = [(point, _cut(message)) for point, message in errors.values()]
        with storing(self._path):
            select = Selection((layout.ERROR_ROWS,), np.array(list(errors)))
            self._put(layout.ERRORS, select, np.array(records, layout.ERROR_RECORD))

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

    def only(self, chosen: NDArray[np.bool_]) -> Batch:
        """Some of the points."""
        return Batch._make(array[chosen] for array in self)


def _together(results: list[Result]) -> Batch:
    parts = (
        (r.points, r.values, np.full_like(r.points, r.rank), r.seconds, r.status) for r in results
    )
    return Batch._make(map(np.concatenate, zip(*parts, strict=True)))


class Selection:
    """Points of a dataset, and as many in memory."""

    def __init__(self, shape: tuple[int, ...], points: NDArray[np.int64]) -> None:
        from h5py import h5s

        coordinates = np.stack(np.unravel_index(points, shape), axis=1).astype(np.uint64)
        self.file = h5s.create_simple(shape)
        self.file.select_elements(coordinates)
        self.memory = h5s.create_simple((points.size,))
        self.size = points.size


def _cut(message: str) -> bytes:
    width = layout.ERROR_RECORD["message"].itemsize
    return message.encode(errors="replace")[:width].decode(errors="ignore").encode()


def parallel_hdf5() -> bool:
    """Whether h5py can open one file on many ranks."""
    import h5py

    return bool(h5py.get_config().mpi)

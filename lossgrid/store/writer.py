"""Storing computed points, such that a kill right afterwards loses none."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import Result
from lossgrid.store import layout
from lossgrid.store.disk import fsync

if TYPE_CHECKING:
    from mpi4py import MPI


class PointWriter:
    """Writes points straight into the datasets of an existing results file.

    Datasets are contiguous and allocated, and HDF5's sieve buffer is off, so that every write is a
    system call at once: what `write` has stored survives the death of this process. Values go
    first, the status last. Against power loss, `sync` asks the disk every `sync_seconds`.

    Args:
        path: the results file.
        columns: value columns, in the order of `Result.values`.
        sync_seconds: time between two fsync calls.
        comm: opens the file with the mpio driver on every rank of it (collective, as is closing).
    """

    def __init__(
        self,
        path: Path,
        columns: tuple[str, ...],
        sync_seconds: float = 30.0,
        comm: MPI.Comm | None = None,
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
        self._file = h5f.open(os.fsencode(path), h5f.ACC_RDWR, access)
        names = [*map(layout.value_dataset, columns), *layout.POINT_RECORDS, layout.STATUS]
        names += [layout.ERRORS, layout.ERRORS_OVERFLOW]
        self._datasets = {name: h5d.open(self._file, name.encode()) for name in names}
        self._shape = self._datasets[layout.STATUS].shape
        self._syncing = Syncing(path, sync_seconds)

    def write(self, results: list[Result]) -> None:
        """Store points: values, records, then status. Results without values are stored already."""
        stored = [result for result in results if result.values is not None]
        if not stored:
            return
        points = np.concatenate([result.points for result in stored])
        select = Selection(self._shape, points)
        values = np.concatenate([result.values for result in stored if result.values is not None])
        for column, name in enumerate(self._columns):
            self._put(layout.value_dataset(name), select, values[:, column])
        sizes = [result.points.size for result in stored]
        self._put("lossgrid/points/rank", select, np.repeat([r.rank for r in stored], sizes))
        self._put("lossgrid/points/seconds", select, np.concatenate([r.seconds for r in stored]))
        attempts = np.empty(points.size, np.uint8)
        self._datasets["lossgrid/points/attempt"].read(select.memory, select.file, attempts)
        self._put("lossgrid/points/attempt", select, np.minimum(attempts, 254) + 1)
        self._put(layout.STATUS, select, np.concatenate([r.status for r in stored]))
        self._syncing.soon()

    def _put(self, name: str, select: Selection, data: NDArray[Any]) -> None:
        dataset = self._datasets[name]
        dataset.write(select.memory, select.file, np.ascontiguousarray(data, dataset.dtype))

    def write_errors(self, first_row: int, errors: list[tuple[int, str]], overflow: int) -> None:
        """Store (point, message) records from a row of the table on, and how many did not fit."""
        if errors:
            rows = np.array(
                [(point, _cut(message)) for point, message in errors], layout.ERROR_RECORD
            )
            select = Selection((layout.ERROR_ROWS,), first_row + np.arange(len(errors)))
            self._put(layout.ERRORS, select, rows)
        count = Selection((1,), np.zeros(1, np.int64))
        self._put(layout.ERRORS_OVERFLOW, count, np.array([overflow]))

    def close(self) -> None:
        """Sync, then close; with mpio every rank must come here, so nothing may prevent it."""
        try:
            self._syncing.wait()
        finally:
            self._datasets.clear()
            self._file.close()

    def __enter__(self) -> PointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Selection:
    """Points of a dataset, and as many in memory."""

    def __init__(self, shape: tuple[int, ...], points: NDArray[np.int64]) -> None:
        from h5py import h5s

        coordinates = np.stack(np.unravel_index(points, shape), axis=1).astype(np.uint64)
        self.file = h5s.create_simple(shape)
        self.file.select_elements(coordinates)
        self.memory = h5s.create_simple((points.size,))


class Syncing:
    """Has the disk take what was written, from time to time, on a thread: fsync can be slow."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._last = time.monotonic()
        self._thread: Thread | None = None
        self._failure: OSError | None = None

    def soon(self) -> None:
        """Begin an fsync if the last one is long enough ago; raises what that one met."""
        if self._failure is not None:
            raise self._failure
        idle = self._thread is None or not self._thread.is_alive()
        if idle and time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            self._thread = Thread(target=self._try, name="fsync", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Fsync now, and wait for it."""
        if self._thread is not None:
            self._thread.join()
        fsync(self._path)

    def _try(self) -> None:
        try:
            fsync(self._path)
        except OSError as error:
            self._failure = error


class ErrorTable:
    """The bounded table of failed points' messages, filled from the top in each run."""

    def __init__(self, writer: PointWriter) -> None:
        self._writer = writer
        self._rows = 0
        self._overflow = 0
        writer.write_errors(0, [(-1, "")] * layout.ERROR_ROWS, 0)

    def write(self, errors: list[tuple[int, str]]) -> None:
        """Add messages; those that find no room are counted."""
        if errors:
            fitting = errors[: layout.ERROR_ROWS - self._rows]
            self._overflow += len(errors) - len(fitting)
            self._writer.write_errors(self._rows, fitting, self._overflow)
            self._rows += len(fitting)


class CoordinatorSink:
    """Rank 0's side: points that workers have sent, and the messages of all failures."""

    def __init__(self, writer: PointWriter) -> None:
        self._writer = writer
        self._errors = ErrorTable(writer)

    def write(self, results: list[Result]) -> None:
        """Store what came with values, and every failure's message before its point's status."""
        self._errors.write([error for result in results for error in result.errors])
        self._writer.write(results)


def _cut(message: str) -> bytes:
    width = layout.ERROR_RECORD["message"].itemsize
    return message.encode()[:width].decode(errors="ignore").encode()


def mark_complete(path: Path) -> None:
    """Say in the file that nothing is pending; call it after every rank has closed the file."""
    import h5py

    with h5py.File(path, "r+", libver=("earliest", "v108")) as file:
        file[layout.SCIENCE].attrs.modify("complete", np.uint8(1))
    fsync(path)


def parallel_hdf5() -> bool:
    """Whether h5py can open one file on many ranks."""
    import h5py

    return bool(h5py.get_config().mpi)

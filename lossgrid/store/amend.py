"""What is changed in a results file while no rank has it open to store points."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE, FAILED, PENDING
from lossgrid.store import layout
from lossgrid.store.create import write_text, write_trajectory
from lossgrid.store.disk import fsync, replacing, storing
from lossgrid.store.results import Results, bands
from lossgrid.store.trajectory import Trajectory

if TYPE_CHECKING:
    import h5py


def mark_complete(path: Path) -> None:
    """Say in the file that nothing is pending; call it after every rank has closed the file."""
    with _amended(path) as file:
        file[layout.SCIENCE].attrs.modify("complete", np.uint8(1))


def write_precision(
    results: Results,
    columns: tuple[str, ...],
    points: NDArray[np.int64],
    exact: NDArray[np.float64],
) -> None:
    """Store values that were computed again in float32, beside those of the file.

    Args:
        results: the file, whose points are done; all of its ranks have closed it.
        columns: names of the values.
        points: flat indices.
        exact: shape (points, columns).

    Raises:
        UserError: the disk does not take it.
    """
    stored = results.at(points, columns)
    rows = [
        (point, column.encode(), exact[i, j], stored[i, j])
        for i, point in enumerate(points.tolist())
        for j, column in enumerate(columns)
    ]
    with _amended(results.path) as file:
        table = file[layout.PRECISION]
        table[: len(rows)] = np.array(rows, table.dtype)


def write_epoch(results: Results, number: int, record: NDArray[Any]) -> None:
    """Store how points are evaluated from now on, before the first of them is.

    Args:
        results: the file, which has room for another epoch; all ranks have closed it.
        number: of the epoch.
        record: see `layout.epoch_record`.

    Raises:
        UserError: the disk does not take it.
    """
    with _amended(results.path) as file:
        file[layout.EPOCHS][number] = record


def write_true_values(
    results: Results, found: Mapping[tuple[str, int], Mapping[str, float] | None]
) -> None:
    """Store the true values of checkpoints, and after them their status.

    Args:
        results: the file; all of its ranks have closed it.
        found: values by column, for the checkpoints of trajectories by name and index; None where
            they have failed.

    Raises:
        UserError: the disk does not take it.
    """
    with _amended(results.path) as file:
        for (name, index), values in found.items():
            for column, value in (values or {}).items():
                file[layout.trajectory_dataset(name, column)][index] = value
        file.flush()
        for (name, index), values in found.items():
            file[layout.trajectory_dataset(name, "status")][index] = _status_of(values)


def add_trajectories(
    results: Results, trajectories: Mapping[str, Trajectory], texts: Mapping[str, str]
) -> None:
    """Add trajectories, of whose checkpoints no true value is known.

    New datasets change what HDF5 finds others by, which a kill would leave half changed: a copy
    takes them, and then the file's place.

    Args:
        results: the file, which no rank has open; it is to be read anew.
        trajectories: by name, none of which the file has.
        texts: attributes that take the place of the file's.

    Raises:
        UserError: the disk does not take it.
    """
    import h5py

    with storing(results.path), replacing(results.path) as fresh:
        shutil.copyfile(results.path, fresh)
        with h5py.File(fresh, "r+", libver=layout.LIBVER) as file:
            science = file[layout.SCIENCE]
            science.attrs.modify("complete", np.uint8(0))
            for name, text in texts.items():
                write_text(science, name, text)
            for name, trajectory in trajectories.items():
                write_trajectory(file, name, trajectory)


def write_spectra(
    results: Results, found: Mapping[tuple[int, int], Mapping[str, NDArray[np.float64]] | None]
) -> None:
    """Store nodes of spectra, and after them their status.

    Args:
        results: the file; all of its ranks have closed it.
        found: by place and probe, for each split: see `lossgrid.store.spectra.Spectra`; None where
            that has failed.

    Raises:
        UserError: the disk does not take it.
    """
    with _amended(results.path) as file:
        for place, nodes in found.items():
            for split, values in (nodes or {}).items():
                file[layout.nodes_dataset(split)][place] = values
        file.flush()
        for place, nodes in found.items():
            file[layout.SPECTRA_STATUS][place] = _status_of(nodes)


def _status_of(values: object | None) -> int:
    return FAILED if values is None else DONE


def reset_lost(results: Results) -> None:
    """After a power loss, make everything pending again whose values the disk may not have.

    Values are written before their status, but the disk may have taken the status alone, over the
    NaN of a point that was never computed; so with its epoch. A point whose value is a true NaN is
    computed again to the same end. Likewise checkpoints and probes.

    Raises:
        UserError: the disk does not take it, or the file is damaged.
    """
    with _amended(results.path) as file:
        columns = [*results.values, *results.layers]
        values = [file[layout.value_dataset(column)] for column in columns]
        for rows in bands(results.stored_shape):
            status = file[layout.STATUS][rows]
            lost = np.any([np.isnan(column[rows]) for column in values], axis=0)
            lost |= (status == DONE) & (file[layout.EPOCH][rows] == layout.NO_EPOCH)
            _reset(file, layout.STATUS, lost, rows)
        for name, trajectory in results.trajectories.items():
            known = ~np.any([np.isnan(values) for values in trajectory.values.values()], axis=0)
            _reset(file, layout.trajectory_dataset(name, "status"), ~known)
        if (spectra := results.spectra) is not None:
            _reset(file, layout.SPECTRA_STATUS, ~spectra.is_finite)


def _reset(file: h5py.File, dataset: str, lost: NDArray[np.bool_], rows: Any = ...) -> None:
    """Make pending what is lost, by a dataset of status; failures claim no value."""
    status = file[dataset][rows]
    lost = lost & (status != FAILED)
    if lost.any():
        file[layout.SCIENCE].attrs.modify("complete", np.uint8(0))
        file[dataset][rows] = np.where(lost, PENDING, status)


@contextmanager
def _amended(path: Path) -> Iterator[h5py.File]:
    """The file, of which the disk has taken every change at the end."""
    import h5py

    with storing(path):
        with h5py.File(path, "r+", libver=layout.LIBVER) as file:
            yield file
        fsync(path)

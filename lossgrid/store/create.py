"""Making a new results file, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lossgrid.columns import layer_of
from lossgrid.engine.messages import PENDING
from lossgrid.errors import UserError
from lossgrid.store import layout
from lossgrid.store.disk import reason, replacing
from lossgrid.store.spectra import Spectra
from lossgrid.store.trajectory import Trajectory

Direction = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Contents:
    """What a new results file holds before anything is computed.

    Args:
        alpha: coordinates of the columns, float64, shape (nx,).
        beta: coordinates of the rows, float64, shape (ny,); None for a line.
        columns: names of the value arrays, `<split>_<metric>`, and of those of layers.
        directions: `x` (and `y`), each one float32 array a parameter, by its name.
        geometry: attributes of the directions (norms, cosine).
        attributes: attributes of the file (job, fingerprint, versions, plan, created).
        compared: how many points will be computed again in float32.
        epoch: the first plan's record, see `layout.epoch_record`; None leaves no room for others.
        trajectories: by name.
        layers: of the network, in its order, of which there are columns of their own.
        spectra: of the places where there are to be some.
        values: of columns, where they are known already: float64 of the grid's shape.
        status: of points, where it is known; uint8 of the grid's shape.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    columns: tuple[str, ...]
    directions: Mapping[str, Direction]
    geometry: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    compared: int = 0
    epoch: NDArray[Any] | None = None
    trajectories: Mapping[str, Trajectory] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    spectra: Spectra | None = None
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    status: NDArray[np.uint8] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx) of a plane, (nx,) of a line."""
        return (self.alpha.size,) if self.beta is None else (self.beta.size, self.alpha.size)


def expected_bytes(points: int, columns: int, moving: int) -> int:
    """About what a results file takes on the disk, from its first moment on.

    Args:
        points: of the grid.
        columns: of values.
        moving: numbers in all directions together.
    """
    records = [np.dtype(kind) for kind, _ in layout.POINT_RECORDS.values()]
    each = 8 * columns + 1 + sum(record.itemsize for record in records)
    return points * each + 4 * moving + layout.ERROR_ROWS * layout.ERROR_RECORD.itemsize


def create(path: Path, contents: Contents) -> None:
    """Write a new results file, replacing any old one only when the new one is complete and synced.

    Raises:
        UserError: it can't be written (permissions, disk full).
    """
    import h5py

    try:
        with replacing(path) as fresh, h5py.File(fresh, "w", libver=layout.LIBVER) as file:
            _write_image(file, contents)
            _write_science(file, contents)
    except (OSError, ValueError, RuntimeError) as error:  # h5py has all three for a full disk
        raise UserError(f"{path}: can't create the results file: {reason(error)}") from error


def _write_image(file: Any, contents: Contents) -> None:
    """The part that VTK reads; a line is an image of one row."""
    image = file.create_group(layout.VTK)
    axes = [contents.alpha] if contents.beta is None else [contents.alpha, contents.beta]
    starts = [float(axis[0]) for axis in axes]
    steps = [_spacing(axis) for axis in axes]
    extent = [bound for axis in axes for bound in (0, axis.size - 1)]
    missing = 3 - len(axes)
    stored = layout.stored_shape(contents.shape)
    image.attrs["Version"] = np.array([1, 0], np.int64)
    image.attrs["Type"] = np.bytes_(b"ImageData")
    image.attrs["WholeExtent"] = np.array(extent + [0, 0] * missing, np.int64)
    image.attrs["Origin"] = np.array(starts + [0.0] * missing)
    image.attrs["Spacing"] = np.array(steps + [1.0] * missing)
    image.attrs["Direction"] = np.eye(3).ravel()
    file.create_group(layout.POINT_DATA)
    for column in contents.columns:
        if not layer_of(column)[1]:
            _allocate(file, layout.value_dataset(column), stored, np.float64, np.nan)
    for column, values in contents.values.items():
        file[layout.value_dataset(column)][...] = values.reshape(stored)


def _spacing(axis: NDArray[np.float64]) -> float:
    return float(axis[-1] - axis[0]) / (axis.size - 1) if axis.size > 1 else 1.0


def _write_science(file: Any, contents: Contents) -> None:
    science = file.create_group(layout.SCIENCE)
    stored = layout.stored_shape(contents.shape)
    science.attrs["format"] = layout.FORMAT
    science.attrs["complete"] = np.uint8(0)
    for name, text in contents.attributes.items():
        write_text(science, name, text)
    file.create_dataset(layout.ALPHA, data=contents.alpha)
    if contents.beta is not None:
        file.create_dataset(layout.BETA, data=contents.beta)
    _allocate(file, layout.STATUS, stored, np.uint8, PENDING)
    if contents.status is not None:
        file[layout.STATUS][...] = contents.status.reshape(stored)
        science.attrs["complete"] = np.uint8((contents.status != PENDING).all())
    for name, (kind, fill) in layout.POINT_RECORDS.items():
        _allocate(file, name, stored, kind, fill)
    empty = np.array((-1, b""), layout.ERROR_RECORD)
    _allocate(file, layout.ERRORS, (layout.ERROR_ROWS,), layout.ERROR_RECORD, empty)
    if contents.compared:
        kind = layout.precision_record(contents.columns)
        blank = np.array((-1, b"", np.nan, np.nan), kind)
        rows = (contents.compared * len(contents.columns),)
        _allocate(file, layout.PRECISION, rows, kind, blank)
    if contents.epoch is not None:
        blank = np.zeros((), contents.epoch.dtype)
        _allocate(file, layout.EPOCHS, (layout.EPOCH_ROWS,), blank.dtype, blank)
        file[layout.EPOCHS][0] = contents.epoch
    directions = file.create_group(layout.DIRECTIONS)
    directions.attrs.update(contents.geometry)
    for axis, direction in contents.directions.items():
        group = directions.create_group(axis)
        for name, values in direction.items():
            group.create_dataset(name, data=np.asarray(values, np.float32))
    for name, trajectory in contents.trajectories.items():
        write_trajectory(file, name, trajectory)
    if contents.layers:
        _write_layers(file, contents)
    if contents.spectra is not None:
        _write_spectra(file, contents.spectra)


def write_trajectory(file: Any, name: str, trajectory: Trajectory) -> None:
    """Add a trajectory, of which no true value is known, to a file that nobody else has open."""
    facts = {
        "alpha": trajectory.alpha,
        "beta": trajectory.beta,
        "checkpoint": np.array([path.encode() for path in trajectory.checkpoints]),
        "epoch": trajectory.epoch,
        "learning_rate": trajectory.learning_rate,
        "stamp": trajectory.stamps,
    }
    for fact, data in facts.items():
        if data is not None:
            file.create_dataset(layout.trajectory_dataset(name, fact), data=data)
    for column, values in trajectory.values.items():
        place = layout.trajectory_dataset(name, column)
        _allocate(file, place, values.shape, np.float64, np.nan)
    status = layout.trajectory_dataset(name, "status")
    _allocate(file, status, trajectory.status.shape, np.uint8, PENDING)
    if trajectory.explained_variance is not None:
        group = file[layout.TRAJECTORIES][name]
        group.attrs["explained_variance"] = trajectory.explained_variance


def _write_layers(file: Any, contents: Contents) -> None:
    names = np.array([name.encode() for name in contents.layers])
    file.create_dataset(layout.LAYER_NAMES, data=names)
    stored = layout.stored_shape(contents.shape)
    for column in contents.columns:
        if layer_of(column)[1]:
            _allocate(file, layout.value_dataset(column), stored, np.float64, np.nan)


def _write_spectra(file: Any, spectra: Spectra) -> None:
    group = file.create_group(layout.SPECTRA)
    group.attrs["parameters"] = spectra.parameters
    group.create_dataset("alpha", data=spectra.alpha)
    if spectra.beta is not None:
        group.create_dataset("beta", data=spectra.beta)
    for split, nodes in spectra.nodes.items():
        _allocate(file, layout.nodes_dataset(split), nodes.shape, np.float64, np.nan)
    _allocate(file, layout.SPECTRA_STATUS, spectra.status.shape, np.uint8, PENDING)


def write_text(group: Any, name: str, text: str) -> None:
    """An attribute holds at most 64 KiB; a longer text is cut nowhere but stored as a dataset."""
    for place in (group.attrs, group):
        if name in place:
            del place[name]
    if len(text.encode()) < 60_000:
        group.attrs[name] = text
    else:
        group.create_dataset(name, data=text)


def _allocate(
    file: Any, name: str, shape: tuple[int, ...], kind: DTypeLike, fill: ArrayLike
) -> None:
    """A contiguous dataset whose place on disk is taken and filled now."""
    from h5py import h5d, h5p, h5s, h5t

    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.CONTIGUOUS)
    properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5d.FILL_TIME_ALLOC)
    properties.set_fill_value(np.array(fill, kind))
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5s.create_simple(shape)
    h5d.create(file.id, name.encode(), h5t.py_create(np.dtype(kind)), space, properties, links)

"""Reading a results file, also while a run is writing it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid import __version__
from lossgrid.columns import of_layer
from lossgrid.engine.messages import DONE, FAILED, PENDING
from lossgrid.engine.pointset import PointSet
from lossgrid.errors import UserError
from lossgrid.store import layout
from lossgrid.store.disk import reason
from lossgrid.store.spectra import Spectra
from lossgrid.store.trajectory import Trajectory

SLICE = 1_000_000
"""Points read at a time where a whole array would cost memory."""


@dataclass(frozen=True)
class Results:
    """What a results file holds; what may be large, or still changes, is read when asked for.

    Attributes:
        path: of the file.
        alpha: float64, shape (nx,). beta: float64, shape (ny,), or None for a line.
        values: column name -> float64, shape (ny, nx) or (nx,); NaN where pending.
        layers: likewise the columns that there are of each layer of the network, see
            `lossgrid.columns.of_layer`; layers in the network's order.
        plan: how the points of the first epoch were evaluated, as JSON.
        fingerprint: what the job was made of, part by part, when it was begun.
        attributes: job, versions and so on, as text.
    """

    path: Path
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    values: Mapping[str, NDArray[np.float64]]
    layers: Mapping[str, NDArray[np.float64]]
    plan: str
    fingerprint: Mapping[str, str]
    attributes: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the job, from the file's."""
        return self.path.stem

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx) of a plane, (nx,) of a line."""
        return _shape(self.alpha, self.beta)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the file's datasets with an entry a point: see `layout.stored_shape`."""
        return layout.stored_shape(self.shape)

    @property
    def points(self) -> int:
        """How many points the grid has."""
        return math.prod(self.shape)

    def coordinates(self, point: int) -> dict[str, float]:
        """The coordinates of a point, by its flat index: of alpha and, on a plane, beta."""
        iy, ix = divmod(point, self.alpha.size)
        found = {"alpha": float(self.alpha[ix])}
        return found if self.beta is None else {**found, "beta": float(self.beta[iy])}

    def place(self, point: int) -> str:
        """The same as text."""
        return ", ".join(f"{axis} {value:g}" for axis, value in self.coordinates(point).items())

    @property
    def status(self) -> NDArray[np.uint8]:
        """0 pending, 1 done, 2 failed, 3 interpolated; uint8, shape as the values."""
        with opened(self.path) as file:
            status: NDArray[np.uint8] = file[layout.STATUS][...]
            return status.reshape(self.shape)

    def count(self, status: int) -> int:
        """How many points have a status."""
        return sum(int(np.count_nonzero(part == status)) for part in self._parts(layout.STATUS))

    def tries(self) -> int:
        """How often a point was computed, over all points and runs."""
        return sum(int(part.sum(dtype=np.int64)) for part in self._parts(layout.TRIES))

    def not_finite(self) -> dict[str, int]:
        """How many values of each column are NaN or infinite, for the columns that have any."""
        counts = {
            name: sum(
                int(np.count_nonzero(~np.isfinite(part)))
                for part in self._parts(layout.value_dataset(name))
            )
            for name in self.values
        }
        return {name: count for name, count in counts.items() if count}

    def unfinished(self) -> PointSet:
        """The points that are pending or failed."""
        return PointSet((part == PENDING) | (part == FAILED) for part in self._parts(layout.STATUS))

    def _parts(self, dataset: str) -> Iterator[NDArray[Any]]:
        """A dataset of all points, flat, in parts of a multiple of 8 points but for the last."""
        with opened(self.path) as file:
            for rows in bands(self.stored_shape):
                yield file[dataset][rows].ravel()

    @property
    def precision(self) -> NDArray[Any] | None:
        """Values that were computed again in float32: records of point, column, float32, stored.

        None if the file has no place for such.
        """
        with opened(self.path) as file:
            if layout.PRECISION not in file:
                return None
            rows: NDArray[Any] = file[layout.PRECISION][...]
            return rows[rows["point"] >= 0]

    @property
    def trajectories(self) -> dict[str, Trajectory]:
        """Training runs that are projected onto the plane, by name, in the file's order."""
        with opened(self.path) as file:
            if layout.TRAJECTORIES not in file:
                return {}
            return {name: _trajectory(g) for name, g in file[layout.TRAJECTORIES].items()}

    def directions(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """What alpha and beta move: `x` (and `y`), an array a parameter, by its name.

        Raises:
            UserError: there are none (a converted file), or several draws of them.
        """
        with opened(self.path) as file:
            group = file.get(layout.DIRECTIONS, {})
            if "x" not in group:
                raise UserError(
                    f"{self.path}: holds no single direction along alpha: it was converted, or "
                    "has several draws"
                )
            return {axis: _arrays(one) for axis, one in group.items()}

    @property
    def spectra(self) -> Spectra | None:
        """How the Hessian's eigenvalues are spread at some places; None if nobody asked."""
        with opened(self.path) as file:
            if layout.SPECTRA not in file:
                return None
            group = file[layout.SPECTRA]
            return Spectra(
                alpha=group["alpha"][...],
                beta=group["beta"][...] if "beta" in group else None,
                nodes={split: nodes[...] for split, nodes in group["nodes"].items()},
                status=file[layout.SPECTRA_STATUS][...],
                parameters=int(group.attrs["parameters"]),
            )

    @property
    def epochs(self) -> NDArray[Any]:
        """What each plan epoch has of its own, in their order: see `layout.epoch_record`.

        Empty if the file has no place for such.
        """
        with opened(self.path) as file:
            if layout.EPOCHS not in file:
                return np.empty(0, layout.epoch_record(()))
            rows: NDArray[Any] = file[layout.EPOCHS][...]
            return rows[rows["batch_size"] > 0]

    def count_epochs(self) -> NDArray[np.int64]:
        """How many points have been computed in each epoch: shape (256,)."""
        counts = np.zeros(256, np.int64)
        done = (part == DONE for part in self._parts(layout.STATUS))
        for epochs, computed in zip(self._parts(layout.EPOCH), done, strict=True):
            counts += np.bincount(epochs[computed], minlength=256)
        return counts

    def at(self, points: NDArray[np.int64], columns: Sequence[str]) -> NDArray[np.float64]:
        """Stored values of some points, by their flat indices: shape (points, columns)."""
        with opened(self.path) as file:
            where = np.array(np.unravel_index(points, self.stored_shape)).T.tolist()
            found = [
                [file[layout.value_dataset(name)][tuple(place)] for name in columns]
                for place in where
            ]
        return np.array(found, np.float64).reshape(len(points), len(columns))

    def errors(self) -> dict[int, str]:
        """The message of each failed point, by its flat index, as far as they found room."""
        with opened(self.path) as file:
            messages = file[layout.ERRORS]["message"]
        return {p: messages[r].decode(errors="replace") for p, r in self.error_rows().items()}

    def error_rows(self) -> dict[int, int]:
        """The row of the table of errors that each failed point has, by its flat index."""
        with opened(self.path) as file:
            status, points = file[layout.STATUS], file[layout.ERRORS]["point"].tolist()
            return {
                point: row
                for row, point in enumerate(points)
                if 0 <= point < self.points
                and status[np.unravel_index(point, self.stored_shape)] == FAILED
            }


def _shape(alpha: NDArray[np.float64], beta: NDArray[np.float64] | None) -> tuple[int, ...]:
    return (alpha.size,) if beta is None else (beta.size, alpha.size)


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Consecutive rows of a grid to hold in memory at a time: a multiple of 8 but for the last."""
    rows = max(8, SLICE // math.prod(shape[1:]) // 8 * 8)
    return (slice(row, row + rows) for row in range(0, shape[0], rows))


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        UserError: there is none, it is cut short, or it was not made by lossgrid.
    """
    with opened(path) as file:
        texts = _texts(file[layout.SCIENCE])
        alpha = file[layout.ALPHA][...]
        beta = file[layout.BETA][...] if layout.BETA in file else None
        shape = _shape(alpha, beta)
        results = Results(
            path=path,
            alpha=alpha,
            beta=beta,
            values=_Values(path, list(file[layout.POINT_DATA]), shape),
            layers=_Values(path, _columns_of_layers(file), shape),
            plan=texts["plan"],
            fingerprint=dict(json.loads(texts["fingerprint"])),
            attributes=texts,
        )
        _check_shapes(file, results)
        return results


def _check_shapes(file: Any, results: Results) -> None:
    """Everything must be there for every point."""
    expected = {
        **dict.fromkeys(
            map(layout.value_dataset, [*results.values, *results.layers]), results.stored_shape
        ),
        **dict.fromkeys([layout.STATUS, *layout.POINT_RECORDS], results.stored_shape),
        layout.ERRORS: (layout.ERROR_ROWS,),
    }
    for name, shape in expected.items():
        found = getattr(file[name], "shape", None)  # a group has none
        if found != shape:
            raise ValueError(f"{name} is of shape {found}, not {shape}")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open for reading as h5py.File, with what may be wrong told in one sentence."""
    import h5py

    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a results file; name a file in it")
    if not path.exists():
        raise UserError(f"{path}: no such results file; 'lossgrid run JOB' makes one")
    if not h5py.is_hdf5(path):
        raise UserError(f"{path}: is not a results file (nor HDF5 at all); name another file")
    try:
        with h5py.File(path, "r") as file:
            if _is_newer(file):
                raise UserError(
                    f"{path}: was written by a newer lossgrid, in a format that this one "
                    f"({__version__}) does not know; update this one"
                )
            if not _is_ours(file):
                raise UserError(
                    f"{path}: is not a results file of this lossgrid (format {layout.FORMAT}); "
                    "name another file, or keep it and choose another output"
                )
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: can't be read as a results file: cut short, damaged or not HDF5 "
            f"({reason(error)}); "
            "restore it from a copy, or start anew with 'lossgrid run JOB --overwrite'"
        ) from error


def check_replaceable(path: Path) -> None:
    """See that starting anew would cost nobody anything but results of lossgrid.

    Raises:
        UserError: the file is something else.
    """
    import h5py

    ours = not path.exists()
    if path.is_file() and h5py.is_hdf5(path):
        try:
            with h5py.File(path, "r") as file:
                ours = layout.SCIENCE in file
        except (OSError, RuntimeError):
            ours = True  # cut short, as only our own are found under such a name
    if not ours:
        raise UserError(
            f"{path}: is not a results file of lossgrid, so --overwrite leaves it alone; move it "
            "away, or set another 'output'"
        )


def _arrays(group: Any) -> dict[str, NDArray[Any]]:
    """All datasets below a group, by their names in it."""
    import h5py

    found: dict[str, NDArray[Any]] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[...]

    group.visititems(take)
    return found


def _is_ours(file: Any) -> bool:
    return _format(file) == layout.FORMAT and layout.POINT_DATA in file


def _is_newer(file: Any) -> bool:
    return _format(file) > layout.FORMAT


def _format(file: Any) -> int:
    """That of a results file; 0 of any other."""
    return int(file[layout.SCIENCE].attrs.get("format", 0)) if layout.SCIENCE in file else 0


class _Values(Mapping[str, NDArray[np.float64]]):
    def __init__(self, path: Path, names: list[str], shape: tuple[int, ...]) -> None:
        self._path = path
        self._names = names
        self._shape = shape

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self._names:
            raise KeyError(name)
        with opened(self._path) as file:
            values: NDArray[np.float64] = file[layout.value_dataset(name)][...]
            return values.reshape(self._shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _columns_of_layers(file: Any) -> list[str]:
    if layout.LAYERS not in file:
        return []
    names = [name.decode() for name in file[layout.LAYER_NAMES][...].tolist()]
    results = {name: group for name, group in file[layout.LAYERS].items() if name != "names"}
    return [
        of_layer(result, name)
        for result, group in results.items()
        for name in names
        if name in group
    ]


def _trajectory(group: Any) -> Trajectory:
    stored = {name: dataset[...] for name, dataset in group.items()}
    return Trajectory(
        alpha=stored["alpha"],
        beta=stored.get("beta"),
        checkpoints=tuple(path.decode() for path in stored["checkpoint"].tolist()),
        epoch=stored.get("epoch"),
        learning_rate=stored.get("learning_rate"),
        values={n: v for n, v in stored.items() if n not in layout.TRAJECTORY_FACTS},
        status=stored["status"],
        explained_variance=group.attrs.get("explained_variance"),
        stamps=stored.get("stamp"),
    )


def _texts(group: Any) -> dict[str, str]:
    """Attributes that are texts, and texts too long for an attribute."""
    import h5py

    texts = {name: value for name, value in group.attrs.items() if isinstance(value, str)}
    for name, item in group.items():
        if isinstance(item, h5py.Dataset) and item.shape == ():
            texts[name] = item.asstr()[()]
    return texts

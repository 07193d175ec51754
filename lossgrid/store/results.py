"""Reading a results file, also while a run is writing it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import FAILED, PENDING
from lossgrid.engine.pointset import PointSet
from lossgrid.errors import UserError
from lossgrid.store import layout
from lossgrid.store.disk import reason

SLICE = 1_000_000
"""Points read at a time where a whole array would cost memory."""


@dataclass(frozen=True)
class Results:
    """What a results file holds; what may be large, or still changes, is read when asked for.

    Attributes:
        path: of the file.
        alpha: float64, shape (nx,). beta: float64, shape (ny,), or None for a line.
        values: column name -> float64, shape (ny, nx) or (nx,); NaN where pending.
        plan: how the points were evaluated, as JSON.
        fingerprint: what the job was made of, part by part.
        attributes: job, versions and so on, as text.
    """

    path: Path
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    values: Mapping[str, NDArray[np.float64]]
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
        return (self.alpha.size,) if self.beta is None else (self.beta.size, self.alpha.size)

    @property
    def points(self) -> int:
        """How many points the grid has."""
        return math.prod(self.shape)

    @property
    def status(self) -> NDArray[np.uint8]:
        """0 pending, 1 done, 2 failed, 3 interpolated; uint8, shape as the values."""
        with opened(self.path) as file:
            status: NDArray[np.uint8] = file[layout.STATUS][...]
            return status

    def count(self, status: int) -> int:
        """How many points have a status."""
        return sum(int(np.count_nonzero(part == status)) for part in self._parts(layout.STATUS))

    def unfinished(self, power_lost: bool = False) -> PointSet:
        """The points that are pending or failed.

        Args:
            power_lost: those with a NaN as well. Values are written before their status, but after
                a power loss the disk may have the status alone; a true NaN is just computed again.
        """
        lost = self._nan_parts() if power_lost else itertools.repeat(np.False_)
        return PointSet(
            (part == PENDING) | (part == FAILED) | nan
            for part, nan in zip(self._parts(layout.STATUS), lost, strict=False)
        )

    def _nan_parts(self) -> Iterator[NDArray[np.bool_]]:
        """Whether any value of each point is NaN, in the same parts as the status."""
        columns = [self._parts(layout.value_dataset(name)) for name in self.values]
        for parts in zip(*columns, strict=True):
            yield np.logical_or.reduce([np.isnan(part) for part in parts])

    def _parts(self, dataset: str) -> Iterator[NDArray[Any]]:
        """A dataset of all points, flat, in parts of a multiple of 8 points but for the last."""
        rows = max(8, SLICE // math.prod(self.shape[1:]) // 8 * 8)
        with opened(self.path) as file:
            for row in range(0, self.shape[0], rows):
                yield file[dataset][row : row + rows].ravel()

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
                and status[np.unravel_index(point, self.shape)] == FAILED
            }


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        UserError: there is none, it is cut short, or it was not made by lossgrid.
    """
    with opened(path) as file:
        texts = _texts(file[layout.SCIENCE])
        return Results(
            path=path,
            alpha=file[layout.ALPHA][...],
            beta=file[layout.BETA][...] if layout.BETA in file else None,
            values=_Values(path, list(file[layout.POINT_DATA])),
            plan=texts["plan"],
            fingerprint=dict(json.loads(texts["fingerprint"])),
            attributes=texts,
        )


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open for reading as h5py.File, with what may be wrong told in one sentence."""
    import h5py

    if not path.is_file():
        raise UserError(f"{path}: no such results file; 'lossgrid run JOB' makes one")
    try:
        with h5py.File(path, "r") as file:
            format_ = file[layout.SCIENCE].attrs.get("format") if layout.SCIENCE in file else None
            if format_ != layout.FORMAT or layout.POINT_DATA not in file:
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


class _Values(Mapping[str, NDArray[np.float64]]):
    def __init__(self, path: Path, names: list[str]) -> None:
        self._path = path
        self._names = names

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self._names:
            raise KeyError(name)
        with opened(self._path) as file:
            values: NDArray[np.float64] = file[layout.value_dataset(name)][...]
            return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _texts(group: Any) -> dict[str, str]:
    """Attributes that are texts, and texts too long for an attribute."""
    import h5py

    texts = {name: value for name, value in group.attrs.items() if isinstance(value, str)}
    for name, item in group.items():
        if isinstance(item, h5py.Dataset) and item.shape == ():
            texts[name] = item.asstr()[()]
    return texts

"""Reading a results file, also while a run is writing it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        attributes: job, plan, fingerprint and so on, as text.
    """

    path: Path
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    values: Mapping[str, NDArray[np.float64]]
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
    def fingerprint(self) -> dict[str, str]:
        """What the job was made of, part by part."""
        return dict(json.loads(self.attributes["fingerprint"]))

    @property
    def plan(self) -> str:
        """How the points were evaluated, as JSON."""
        return self.attributes["plan"]

    @property
    def status(self) -> NDArray[np.uint8]:
        """0 pending, 1 done, 2 failed, 3 interpolated; uint8, shape as the values."""
        with opened(self.path) as file:
            status: NDArray[np.uint8] = file[layout.STATUS][...]
            return status

    def count(self, *status: int) -> int:
        """How many points have one of these statuses."""
        return int(np.count_nonzero(np.isin(self.status, status)))

    def unfinished(self) -> NDArray[np.bool_]:
        """Which points are pending or failed: bool, shape (points,); read in slices."""
        wanted = np.empty(self.shape, bool)
        rows = max(1, SLICE // wanted[0].size)
        with opened(self.path) as file:
            for row in range(0, len(wanted), rows):
                part = file[layout.STATUS][row : row + rows]
                wanted[row : row + rows] = np.isin(part, (layout.PENDING, layout.FAILED))
        return wanted.ravel()

    def errors(self) -> dict[int, str]:
        """The message of each failed point, by its flat index, as far as they found room."""
        failed = self.status.ravel() == layout.FAILED
        with opened(self.path) as file:
            return {
                int(point): message.decode(errors="replace")
                for point, message in file[layout.ERRORS][...]
                if 0 <= point < failed.size and failed[point]
            }

    def overflow(self) -> int:
        """Failures whose message found no room."""
        with opened(self.path) as file:
            return int(file[layout.ERRORS_OVERFLOW][0])


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        UserError: there is none, it is cut short, or it was not made by lossgrid.
    """
    with opened(path) as file:
        return Results(
            path=path,
            alpha=file[layout.ALPHA][...],
            beta=file[layout.BETA][...] if layout.BETA in file else None,
            values=_Values(path, list(file[layout.POINT_DATA])),
            attributes=_texts(file[layout.SCIENCE]),
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
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{path}: can't be read as a results file: cut short, damaged or not HDF5 "
            f"({reason(error)}); "
            "restore it from a copy, or start anew with 'lossgrid run JOB --overwrite'"
        ) from error


def read_direction(path: Path, axis: str) -> dict[str, NDArray[np.float32]] | None:
    """The direction `x` or `y` that a results file holds; None if it has none.

    Raises:
        UserError: see `read_results`.
    """
    with opened(path) as file:
        group = file[layout.DIRECTIONS].get(axis)
        return None if group is None else {name: group[name][...] for name in group}


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

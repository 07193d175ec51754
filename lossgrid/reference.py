"""Surface and direction files of the reference code of Li et al. (github.com/tomgoldstein).

It keeps a plane in an array of shape (nx, ny), but counts its entries along rows of one beta: entry
k belongs to alpha k % nx and beta k // nx. On a square plane that is an array of rows of one beta;
on others its own figures fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError

PENDING = -1.0
PERCENT = 100.0

Array = NDArray[np.float64]


class Surface(NamedTuple):
    """What a surface file holds.

    Attributes:
        alpha: shape (nx,).
        beta: shape (ny,), or None for a line.
        values: column name -> shape (ny, nx) or (nx,); NaN where not computed. Accuracies, which
            the file has in percent, are fractions.
        pending: which points were not computed: all of their entries are -1.
    """

    alpha: Array
    beta: Array | None
    values: dict[str, Array]
    pending: NDArray[np.bool_]


def read(path: Path) -> Surface:
    """Read a surface file.

    Raises:
        UserError: it is none, or cut short.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            alpha = np.asarray(file["xcoordinates"], np.float64)
            beta = np.asarray(file["ycoordinates"], np.float64) if "ycoordinates" in file else None
            shape = (alpha.size,) if beta is None else (beta.size, alpha.size)
            found = {
                name: np.asarray(item, np.float64).reshape(shape)
                for name, item in file.items()
                if isinstance(item, h5py.Dataset)
                and not name.endswith("coordinates")
                and item.dtype.kind == "f"
                and item.size == np.prod(shape)
            }
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: can't be read as a surface file of the reference code ({error})"
        ) from error
    if not found:
        raise UserError(f"{path}: a surface file without values; let plot_surface.py compute some")
    pending = np.all([values == PENDING for values in found.values()], axis=0)
    ours = {n: np.where(pending, np.nan, values) for n, values in map(_from_theirs, found.items())}
    return Surface(alpha, beta, ours, pending)


def write(path: Path, surface: Surface) -> None:
    """Write a surface file.

    Args:
        path: of the file.
        surface: what it is to hold.

    Raises:
        OSError: it can't be written.
    """
    import h5py

    alpha, beta, values, pending = surface
    shape = (alpha.size,) if beta is None else (alpha.size, beta.size)
    with h5py.File(path, "w") as file:
        file["xcoordinates"] = alpha
        if beta is not None:
            file["ycoordinates"] = beta
        for column, ours in values.items():
            name, theirs = _to_theirs(column, ours)
            file[name] = np.where(pending, PENDING, theirs).reshape(shape)


def write_directions(
    path: Path,
    shapes: Mapping[str, Sequence[int]],
    directions: Mapping[str, Mapping[str, NDArray[np.float32]]],
) -> None:
    """Write a direction file: of each axis a tensor a parameter, numbered in the model's order.

    Args:
        path: of the file.
        shapes: of all parameters, by name, in the order of the model's `parameters()`.
        directions: `x` (and `y`), what moves by name; zeros stand for what does not.

    Raises:
        UserError: something moves that is no parameter of this shape.
        OSError: it can't be written.
    """
    import h5py

    for direction in directions.values():
        for name, values in direction.items():
            if values.shape != tuple(shapes.get(name, ())) or name not in shapes:
                raise UserError(
                    f"{path}: the directions move {name} {values.shape}, which is no parameter of "
                    "the model; a direction file of the reference code holds its parameters alone"
                )
    with h5py.File(path, "w") as file:
        for axis, direction in directions.items():
            for number, (name, shape) in enumerate(shapes.items()):
                still = np.zeros(shape, np.float32)
                file[f"{axis}direction/{number}"] = direction.get(name, still)


def _from_theirs(item: tuple[str, Array]) -> tuple[str, Array]:
    name, values = item
    split, _, metric = name.rpartition("_")
    return (f"{split}_accuracy", values / PERCENT) if metric == "acc" else (name, values)


def _to_theirs(column: str, values: Array) -> tuple[str, Array]:
    split, _, metric = column.rpartition("_")
    return (f"{split}_acc", values * PERCENT) if metric == "accuracy" else (column, values)

"""Directions: random ones, and those that a file holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossgrid.errors import UserError
from lossgrid.space.layout import Layout

Direction = dict[str, Tensor]
"""float32 tensors on the CPU, by entry name; what is absent does not move."""


def gaussian(seed: int, draw: int, axis: str, name: str, shape: torch.Size) -> Tensor:
    """Standard normal numbers for one entry of one direction.

    They come from NumPy's Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
    SC 2011), keyed by the first 16 bytes of the BLAKE2b hash of "seed/draw/axis/name", and so
    depend on nothing else: not on rank, device, or the order of entries.

    Args:
        seed: of the job.
        draw: which of several directions.
        axis: "x" (alpha) or "y" (beta).
        name: of the entry.
        shape: of the entry.

    Returns: float64 tensor of that shape.
    """
    (whole,) = gaussian_rows(seed, draw, axis, name, shape, shape[0] if shape else 1)
    return whole


def gaussian_rows(
    seed: int, draw: int, axis: str, name: str, shape: torch.Size, rows: int
) -> Iterator[Tensor]:
    """The same numbers as `gaussian`'s, so many rows (indices of the first dimension) at a time."""
    key = hashlib.blake2b(f"{seed}/{draw}/{axis}/{name}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    if not shape:
        yield torch.tensor(generator.standard_normal(), dtype=torch.float64)
        return
    for begin in range(0, max(1, shape[0]), max(1, rows)):
        size = (min(rows, shape[0] - begin), *shape[1:])
        yield torch.from_numpy(generator.standard_normal(size))


def random_direction(layout: Layout, seed: int, axis: str, draw: int = 0) -> Direction:
    """A Gaussian direction over every entry of a layout, not yet normalized (float64)."""
    return {
        entry.name: gaussian(seed, draw, axis, entry.name, entry.shape) for entry in layout.entries
    }


def read_directions(path: Path, axes: tuple[str, ...], layout: Layout) -> list[Direction]:
    """The directions in an HDF5 file with /lossgrid/directions/{x,y}/<entry name>.

    Any results file is one. Entries that the file does not name do not move. In a direction file
    of the reference code of Li et al., /{x,y}direction/<number>, they are numbered in the order of
    the network's parameters (of its state, with the running statistics).

    Args:
        path: of the file.
        axes: ("x",) for a line, ("x", "y") for a plane.
        layout: of the network.

    Raises:
        UserError: the file can't be read, lacks an axis, or was made for another network.
    """
    import h5py

    if not path.is_file():
        raise UserError(f"directions.path: {path} does not exist; name a direction file")
    try:
        with h5py.File(path, "r") as file:
            return [_read_axis(file, path, axis, layout) for axis in axes]
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(
            f"directions.path: {path} can't be read ({error}); it is cut short or not HDF5: "
            "copy it again or name another file"
        ) from error


def _named(
    numbered: dict[str, NDArray[np.float32]], path: Path, layout: Layout
) -> dict[str, NDArray[np.float32]]:
    """Entries that are numbered in the layout's order, by their names."""
    if len(numbered) != len(layout.entries):
        raise UserError(
            f"directions.path: {path} moves {len(numbered)} tensors, the model has "
            f"{len(layout.entries)}; set directions.include to what it was made for (its weights: "
            "parameters, its states: state)"
        )
    return {entry.name: numbered[str(n)] for n, entry in enumerate(layout.entries)}


def _read_axis(file: Mapping[str, object], path: Path, axis: str, layout: Layout) -> Direction:
    import h5py

    numbered = file.get(f"{axis}direction")
    group = numbered or file.get(f"lossgrid/directions/{axis}")
    if not isinstance(group, h5py.Group):
        remedy = "leave out grid.beta for a line" if axis == "y" else "name a direction file"
        raise UserError(
            f"directions.path: {path} holds no /lossgrid/directions/{axis}, which the grid needs; "
            f"{remedy}"
        )
    found: dict[str, NDArray[np.float32]] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[...]

    group.visititems(take)
    if numbered:
        found = _named(found, path, layout)
    shapes = {entry.name: tuple(entry.shape) for entry in layout.entries}
    misfits = [
        f"{name} {values.shape} is {shapes.get(name, 'no entry')} in the model"
        for name, values in found.items()
        if values.shape != shapes.get(name)
    ]
    if misfits:
        raise UserError(
            f"directions.path: {path} was made for another network or other settings of "
            f"'directions.include': {'; '.join(misfits[:3])}"
            f"{f' and {len(misfits) - 3} more' if len(misfits) > 3 else ''}"
        )
    broken = [name for name, values in found.items() if not np.isfinite(values).all()]
    if broken:
        raise UserError(f"directions.path: {path} holds NaN or infinity in {axis}/{broken[0]}")
    return {name: torch.from_numpy(np.asarray(v, np.float32)) for name, v in found.items()}

"""Splits from arrays in npz and HDF5 files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossgrid.data.normalization import ImageNormalization
from lossgrid.data.split import Split
from lossgrid.errors import UserError


def npz(
    path: str,
    images: str,
    labels: str,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Split:
    """Read a split from two arrays of a NumPy .npz file.

    With ``mean`` and ``std`` the images must be uint8 of shape (n, C, H, W) and are normalized
    by `ImageNormalization`; without them the arrays may have any shape (n, ...) and are used as
    they are. Integer labels become int64.

    Raises:
        UserError: if the file is missing, cut short or lacks an array, or if its images do not
            fit the normalization.
    """
    return _split(_read_npz(Path(path), (images, labels)), path, (images, labels), mean, std)


def hdf5(
    path: str,
    images: str,
    labels: str,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Split:
    """Read a split from two datasets of an HDF5 file; otherwise as `npz`.

    Raises:
        UserError: as `npz`.
    """
    return _split(_read_hdf5(Path(path), (images, labels)), path, (images, labels), mean, std)


def _read_npz(path: Path, names: Sequence[str]) -> list[Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            _require(names, list(file), path)
            return [file[name] for name in names]
    except FileNotFoundError:
        raise _missing(path) from None
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise _unreadable(path, "an .npz file of plain arrays", error) from error


def _read_hdf5(path: Path, names: Sequence[str]) -> list[Any]:
    import h5py

    if not os.path.exists(path):
        raise _missing(path)
    try:
        with h5py.File(path, "r") as file:
            present: list[str] = []
            file.visititems(
                lambda name, item: present.append(name) if isinstance(item, h5py.Dataset) else None
            )
            _require(names, present, path)
            return [file[name][()] for name in names]
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise _unreadable(path, "an HDF5 file", error) from error


def _require(names: Sequence[str], present: Sequence[str], path: Path) -> None:
    for name in names:
        if name.strip("/") not in present:
            raise UserError(
                f"{path} holds no array {name!r}; its arrays are: {', '.join(present) or 'none'}"
            )


def _missing(path: Path) -> UserError:
    return UserError(f"data file {path} does not exist: correct its path in the job file")


def _unreadable(path: Path, kind: str, error: Exception) -> UserError:
    return UserError(
        f"data file {path} cannot be read as {kind} ({error}): "
        "it may have been cut short; copy or write it anew"
    )


def _split(
    arrays: Sequence[Any],
    path: str,
    names: tuple[str, str],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Split:
    inputs, targets = (
        _tensor(array, f"array {name!r} of {path}")
        for array, name in zip(arrays, names, strict=True)
    )
    if not targets.is_floating_point():
        targets = targets.long()
    if mean is None and std is None:
        return Split(inputs, targets)
    if mean is None or std is None:
        raise UserError(f"only one of mean and std is given for {path}: give both or neither")
    if inputs.dtype != torch.uint8 or inputs.dim() != 4 or inputs.shape[1] != len(mean):
        raise UserError(
            f"array {names[0]!r} of {path} is {inputs.dtype} of shape {tuple(inputs.shape)}; "
            f"mean and std need uint8 images of shape (n, {len(mean)}, height, width): "
            "convert it, or leave out mean and std"
        )
    return Split(inputs, targets, ImageNormalization(tuple(mean), tuple(std)))


def _tensor(array: Any, where: str) -> Tensor:
    array = np.asarray(array)
    if array.dtype.kind not in "buif" or array.ndim == 0:
        raise UserError(
            f"{where} is {array.dtype} of shape {array.shape}; an array of numbers with one "
            "entry a sample is needed"
        )
    # torch reads only arrays in the machine's own byte order.
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))

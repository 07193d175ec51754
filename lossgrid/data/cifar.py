"""CIFAR-10 (Krizhevsky 2009) in the two formats its author publishes."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lossgrid.data.normalization import ImageNormalization
from lossgrid.data.split import Split
from lossgrid.errors import UserError, summary

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
BATCH = 10_000
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCHES = ("test_batch",)

Bytes = npt.NDArray[np.uint8]


def cifar10(
    path: str,
    train: bool,
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
) -> Split:
    """Read the 50,000 training or the 10,000 test images.

    Args:
        path: the unpacked folder, ``cifar-10-batches-py`` (python version) or
            ``cifar-10-batches-bin`` (binary version); which one is seen from what it holds.
        train: the training batches in their order, or the test batch.
        mean: of the channels, for `ImageNormalization`.
        std: likewise.

    Returns:
        uint8 images (n, 3, 32, 32) and int64 labels (n,) from 0 to 9.

    Raises:
        UserError: if the folder is not one of the two, or a file is missing or damaged.
    """
    folder = Path(path)
    names = TRAIN_BATCHES if train else TEST_BATCHES
    if os.path.exists(folder / names[0]):
        batches = [_read_python(folder / name) for name in names]
    elif os.path.exists(folder / f"{names[0]}.bin"):
        batches = [_read_binary(folder / f"{name}.bin") for name in names]
    else:
        raise UserError(
            f"{folder} holds neither {names[0]} nor {names[0]}.bin: give the path of the unpacked "
            "folder cifar-10-batches-py or cifar-10-batches-bin"
        )
    images = np.concatenate([images for images, _ in batches]).reshape(-1, *SHAPE)
    labels = np.concatenate([labels for _, labels in batches])
    return Split(
        torch.from_numpy(images),
        torch.from_numpy(labels).long(),
        ImageNormalization(tuple(mean), tuple(std)),
    )


def _read_binary(path: Path) -> tuple[Bytes, Bytes]:
    """Read records of one label byte and 3,072 pixel bytes."""
    content = np.frombuffer(_content(path), dtype=np.uint8)
    expected = BATCH * (1 + PIXELS)
    # Nothing but its size tells that such a file was cut between two records.
    if content.size != expected:
        raise _damaged(path, f"{content.size} bytes instead of {expected}")
    records = content.reshape(BATCH, 1 + PIXELS)
    return records[:, 1:], records[:, 0]


def _read_python(path: Path) -> tuple[Bytes, Bytes]:
    """Read a pickled dictionary with ``data`` (n, 3072) and ``labels``, a list of n integers."""
    content = _content(path)
    try:
        batch = _load_pickle(content)
        pixels, labels = batch["data"].array, np.array(batch["labels"], dtype=np.uint8)
    except Exception as error:  # a damaged pickle can raise anything
        raise _damaged(path, summary(error)) from error
    if pixels.shape != (len(labels), PIXELS) or len(labels) == 0:
        raise _damaged(path, f"data of shape {pixels.shape} for {len(labels)} labels")
    return pixels, labels


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, finding: str) -> UserError:
    return UserError(
        f"CIFAR-10 file {path} is missing or damaged ({finding}): unpack the archive again"
    )


class _PickledDtype:
    """Stands in for ``numpy.dtype`` in a pickle; single bytes are the only type admitted."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        if name not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of type {name!r}, not bytes")

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment: a byte has neither."""


class _PickledArray:
    """Stands in for ``numpy.ndarray`` in a pickle, and for the function that makes one."""

    array: Bytes

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, _dtype, fortran_order, data = state
        content = np.frombuffer(data, dtype=np.uint8)
        self.array = content.reshape(shape, order="F" if fortran_order else "C")


# numpy 1's path is the one in the published files.
_ADMITTED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledDtype,
    ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
}


class _CifarUnpickler(pickle.Unpickler):
    """Reads arrays of bytes, strings, numbers, lists and dictionaries, and nothing else.

    A pickle can call whatever it can name, so the few names that it may use are bound to
    stand-ins of our own.
    """

    def find_class(self, module: str, name: str) -> type:
        """Return the stand-in for a name, or refuse it."""
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def _load_pickle(content: bytes) -> dict[str, Any]:
    # The published files are Python 2's, whose strings are bytes here.
    batch = _CifarUnpickler(io.BytesIO(content), encoding="bytes").load()
    return {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}

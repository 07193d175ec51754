from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from lossgrid.data import ImageNormalization, Split, hdf5, npz
from lossgrid.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (13, 3, 5, 7), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 13).astype(np.uint8)

Read = Callable[..., Split]


def write(read: Read, path: Path, **arrays: Any) -> str:
    if read is npz:
        with path.open("wb") as file:
            np.savez(file, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return str(path)


@pytest.fixture(params=[npz, hdf5])
def read(request: pytest.FixtureRequest) -> Read:
    return request.param  # type: ignore[no-any-return]


def test_reads_images(read: Read, tmp_path: Path) -> None:
    path = write(read, tmp_path / "file", x=IMAGES, y=LABELS)
    split = read(path, "x", "y", mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    assert split.inputs.dtype == torch.uint8
    assert np.array_equal(split.inputs.numpy(), IMAGES)
    assert split.targets.dtype == torch.int64
    assert split.targets.tolist() == LABELS.tolist()
    assert split.prepare == ImageNormalization((0.1, 0.2, 0.3), (1, 2, 3))


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i4", ">i8"])
def test_other_arrays_are_used_as_they_are(read: Read, tmp_path: Path, dtype: str) -> None:
    rows = RNG.integers(0, 100, (6, 4)).astype(dtype)
    targets = RNG.standard_normal((6, 2))
    split = read(write(read, tmp_path / "file", x=rows, y=targets), "x", "y")
    assert split.prepare is None
    assert np.array_equal(split.inputs.numpy(), rows)
    assert split.inputs.numpy().dtype == rows.dtype.newbyteorder("=")
    assert np.array_equal(split.targets.numpy(), targets)


def test_hdf5_reads_from_groups(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["train/x"], file["train/y"] = IMAGES, LABELS
    split = hdf5(str(tmp_path / "file.h5"), "train/x", "/train/y")
    assert len(split) == len(LABELS)


def test_missing_file(read: Read, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.npz does not exist"):
        read(str(tmp_path / "none.npz"), "x", "y")


def test_missing_array_lists_those_present(read: Read, tmp_path: Path) -> None:
    path = write(read, tmp_path / "file", x=IMAGES, y=LABELS)
    with pytest.raises(UserError, match="no array 'labels'; its arrays are: x, y"):
        read(path, "x", "labels")


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_file_cut_short(read: Read, tmp_path: Path, keep: float) -> None:
    path = tmp_path / "file"
    write(read, path, x=IMAGES, y=LABELS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UserError, match=r"cannot be read as an .*cut short"):
        read(str(path), "x", "y")


def test_npz_refuses_a_single_array_and_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", IMAGES)
    with pytest.raises(UserError, match=r"one\.npy cannot be read as an \.npz"):
        npz(str(tmp_path / "one.npy"), "x", "y")
    path = write(npz, tmp_path / "file", x=np.array([{}]), y=LABELS)
    with pytest.raises(UserError, match="plain arrays"):
        npz(path, "x", "y")


@pytest.mark.parametrize(
    "images",
    [IMAGES.astype(np.float32), IMAGES[:, 0], np.moveaxis(IMAGES, 1, 3)],
    ids=["float", "no channels", "NHWC"],
)
def test_normalization_needs_matching_images(read: Read, tmp_path: Path, images: Any) -> None:
    path = write(read, tmp_path / "file", x=images, y=LABELS)
    with pytest.raises(UserError, match=r"mean and std need uint8 images of shape \(n, 3,"):
        read(path, "x", "y", mean=[0.5] * 3, std=[0.5] * 3)


def test_mean_and_std_come_together(read: Read, tmp_path: Path) -> None:
    path = write(read, tmp_path / "file", x=IMAGES, y=LABELS)
    with pytest.raises(UserError, match="only one of mean and std"):
        read(path, "x", "y", mean=[0.5] * 3)


def test_refuses_what_is_not_numbers_by_the_sample(read: Read, tmp_path: Path) -> None:
    path = write(read, tmp_path / "file", x=np.array([b"a", b"b"]), y=LABELS, scalar=3.0)
    with pytest.raises(UserError, match=r"array 'x'.* numbers"):
        read(path, "x", "y")
    with pytest.raises(UserError, match=r"array 'scalar'.* numbers"):
        read(path, "y", "scalar")

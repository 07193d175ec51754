from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from lossgrid.data import ImageNormalization, cifar10
from lossgrid.errors import UserError

RNG = np.random.default_rng(0)
SIZES = {f"data_batch_{i}": 3 + i for i in range(1, 6)} | {"test_batch": 7}
BATCHES = {
    name: (RNG.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), RNG.integers(0, 10, n).tolist())
    for name, n in SIZES.items()
}
TRAIN = [name for name in BATCHES if name != "test_batch"]


def python2_string(value: bytes) -> bytes:
    """A str of Python 2, as its pickler writes it."""
    if len(value) < 256:
        return b"U" + struct.pack("<B", len(value)) + value
    return b"T" + struct.pack("<i", len(value)) + value


def python2_integer(value: int) -> bytes:
    return b"K" + struct.pack("<B", value) if value < 256 else b"M" + struct.pack("<H", value)


def python2_pickle(images: Any, labels: list[int]) -> bytes:
    """A batch as published: protocol 2, written opcode by opcode as Python 2's cPickle did."""
    rows = len(labels)
    dtype = (
        b"cnumpy\ndtype\n" + python2_string(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + python2_string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        + python2_string(b"b")
        + b"\x87R(K\x01"
        + python2_integer(rows)
        + python2_integer(3072)
        + b"\x86"
        + dtype
        + b"\x89"
        + python2_string(images.tobytes())
        + b"tb"
    )
    names = b"".join(python2_string(b"image_%d.png" % i) for i in range(rows))
    return (
        b"\x80\x02}("
        + python2_string(b"batch_label")
        + python2_string(b"training batch 1 of 5")
        + python2_string(b"labels")
        + b"]("
        + b"".join(python2_integer(label) for label in labels)
        + b"e"
        + python2_string(b"data")
        + array
        + python2_string(b"filenames")
        + b"]("
        + names
        + b"eu."
    )


def python3_pickle(images: Any, labels: list[int]) -> bytes:
    """A batch written anew with the NumPy at hand."""
    batch = {"data": images.reshape(len(labels), -1), "labels": labels}
    return pickle.dumps(batch, protocol=4)


PICKLES = {"python 2": python2_pickle, "python 3": python3_pickle}


@pytest.fixture(params=PICKLES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder in the python format, with few images a batch."""
    for name, batch in BATCHES.items():
        (tmp_path / name).write_bytes(PICKLES[request.param](*batch))
    return tmp_path


@pytest.fixture(scope="module")
def records() -> Any:
    """Labels and pixels of six whole batches of the binary format."""
    records = np.random.default_rng(1).integers(0, 256, (6, 10_000, 3073), dtype=np.uint8)
    records[..., 0] %= 10
    return records


@pytest.fixture(scope="module")
def binary_folder(records: Any) -> Iterator[Path]:
    """A folder in the binary format, at its real size, and gone as soon as it is not needed."""
    with TemporaryDirectory() as name:
        for batch, content in zip(BATCHES, records, strict=True):
            content.tofile(Path(name) / f"{batch}.bin")
        yield Path(name)


def test_the_python2_writer_writes_what_pickle_reads() -> None:
    images, labels = BATCHES["test_batch"]
    batch = pickle.loads(python2_pickle(images, labels), encoding="bytes")
    assert np.array_equal(batch[b"data"], images.reshape(7, 3072))
    assert batch[b"labels"] == labels


def test_reads_test_images(folder: Path) -> None:
    images, labels = BATCHES["test_batch"]
    split = cifar10(str(folder), train=False)
    assert np.array_equal(split.inputs.numpy(), images)
    assert split.targets.tolist() == labels
    assert split.prepare == ImageNormalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_reads_training_batches_in_order(folder: Path) -> None:
    split = cifar10(str(folder), train=True, mean=[0, 0, 0], std=[1, 1, 1])
    expected = np.concatenate([BATCHES[name][0] for name in TRAIN])
    assert np.array_equal(split.inputs.numpy(), expected)
    assert split.targets.tolist() == [label for name in TRAIN for label in BATCHES[name][1]]
    assert split.prepare == ImageNormalization((0, 0, 0), (1, 1, 1))


def test_reads_binary_batches(binary_folder: Path, records: Any) -> None:
    for split, expected in (
        (cifar10(str(binary_folder), train=True), records[:5].reshape(-1, 3073)),
        (cifar10(str(binary_folder), train=False), records[5]),
    ):
        assert np.array_equal(split.targets.numpy(), expected[:, 0])
        assert np.array_equal(split.inputs.numpy(), expected[:, 1:].reshape(-1, 3, 32, 32))


@pytest.mark.parametrize("size", [0, 3073, 5_000 * 3073, 10_000 * 3073 - 1])
def test_binary_file_cut_short(tmp_path: Path, records: Any, size: int) -> None:
    (tmp_path / "test_batch.bin").write_bytes(records[5].tobytes()[:size])
    with pytest.raises(UserError, match=rf"test_batch\.bin.*damaged \({size} bytes instead of"):
        cifar10(str(tmp_path), train=False)


def test_reads_fortran_order(tmp_path: Path) -> None:
    images, labels = BATCHES["test_batch"]
    batch = {"data": np.asfortranarray(images.reshape(7, -1)), "labels": labels}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol=4))
    assert np.array_equal(cifar10(str(tmp_path), train=False).inputs.numpy(), images)


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.999])
def test_file_cut_short(folder: Path, keep: float) -> None:
    path = folder / "data_batch_3"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    with pytest.raises(UserError, match=r"data_batch_3.*damaged.*unpack the archive again"):
        cifar10(str(folder), train=True)


def test_missing_batch(folder: Path) -> None:
    (folder / "data_batch_4").unlink()
    with pytest.raises(UserError, match=r"data_batch_4.* is missing"):
        cifar10(str(folder), train=True)


def test_other_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither test_batch nor test_batch\.bin"):
        cifar10(str(tmp_path), train=False)


class Call:
    """Pickles to a call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.reduction = function, args

    def __reduce__(self) -> Any:
        return self.reduction


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_call_nothing(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    batch = {"data": Call(os.mkdir, str(trap)), "labels": [1]}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol))
    with pytest.raises(UserError, match=r"it names \w+\.mkdir"):
        cifar10(str(tmp_path), train=False)
    assert not trap.exists()


@pytest.mark.parametrize(
    "batch",
    [
        {"data": np.array([object()]), "labels": [1]},
        {"data": np.zeros((1, 3072)), "labels": [1]},
        {"data": np.zeros((1, 3072), np.int8), "labels": [1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [300]},
        {"data": np.zeros((1, 3072), np.uint8)},
        {"data": [1, 2], "labels": [1, 2]},
        [1, 2],
    ],
    ids=["objects", "floats", "signed", "lengths", "label", "no labels", "lists", "no dictionary"],
)
def test_other_pickles(tmp_path: Path, batch: Any) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol=4))
    with pytest.raises(UserError, match="test_batch is missing or damaged"):
        cifar10(str(tmp_path), train=False)

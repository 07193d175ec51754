from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.data import Split
from lossgrid.errors import UserError
from lossgrid.job import SplitSpec
from lossgrid.problem import load_callable
from lossgrid.problem.splits import load_split, subset

SOURCE = """
import random
import torch
from torch.utils.data import Dataset, IterableDataset
from lossgrid.data import Split

X = torch.arange(13.0).reshape(13, 1) * torch.ones(13, 2)
Y = torch.arange(13)

def split(): return Split(X, Y, scale)
def scale(x, dtype): return x.to(dtype) * 10
def pair(): return X, Y
def tree(): return {"a": X, "b": (X, Y)}, [Y]
def uneven(): return X, Y[:-1]
def empty(): return X[:0], Y[:0]
def uneven_tree(): return {"a": X, "b": X[:4]}, Y
def uneven_both(): return {"a": X, "b": X[:4]}, {"a": Y, "b": Y[:4]}
def lists(): return [1, 2], [3, 4]
def scalar(): return torch.tensor(1.0), torch.tensor(1)
def nothing(): return None
def broken(): raise RuntimeError("no disk")

class Items(Dataset):
    read = []
    def __len__(self): return 13
    def __getitem__(self, index):
        self.read.append(index)
        return X[index] + torch.rand(2) + random.random(), index

class Unpaired(Items):
    def __getitem__(self, index): return X[index]

class Ragged(Items):
    def __getitem__(self, index): return torch.zeros(index), index

class Stream(IterableDataset):
    def __iter__(self): return iter([])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.py").write_text(SOURCE)
    return tmp_path


def load(folder: Path, name: str, **keys: Any) -> Split:
    spec = SplitSpec.model_validate({"factory": f"data.py:{name}", **keys})
    return load_split("train", spec, folder)


@given(available=st.integers(1, 50), data=st.data(), seed=st.integers(0, 2**63 - 1))
def test_subsets_grow_by_their_ends(available: int, data: st.DataObject, seed: int) -> None:
    samples = data.draw(st.integers(1, available))
    chosen = list(subset(available, samples, seed, "data.train"))
    everything = list(subset(available, available, seed, "data.train"))
    assert chosen == everything[:samples]
    assert sorted(everything) == list(range(available))


def test_subset_is_numpys_permutation() -> None:
    expected = np.random.Generator(np.random.Philox(3)).permutation(13)[:5].tolist()
    assert list(subset(13, 5, 3, "data.train")) == expected
    assert list(subset(13, 5, 4, "data.train")) != expected
    assert list(subset(13, None, 3, "data.train")) == list(range(13))


def test_numpys_permutation_has_not_changed() -> None:
    # A new NumPy that permutes otherwise would change every job with `samples`.
    assert list(subset(10, 10, 0, "data.train")) == [8, 0, 3, 7, 6, 4, 1, 5, 2, 9]


@pytest.mark.parametrize("name", ["split", "pair"])
def test_takes_the_subset_of_inputs_and_targets(folder: Path, name: str) -> None:
    chosen = subset(13, 4, 2, "")
    split = load(folder, name, samples=4, seed=2)
    assert split.targets.tolist() == list(chosen)
    assert split.inputs.tolist() == [[i, i] for i in chosen]
    assert load(folder, name).targets.tolist() == list(range(13))


def test_keeps_prepare(folder: Path) -> None:
    split = load(folder, "split", samples=4)
    assert split.prepare is not None
    inputs, _ = split.batch(0, len(split), torch.float64)
    assert torch.equal(inputs, split.inputs.double() * 10)


def test_cuts_every_leaf(folder: Path) -> None:
    split = load(folder, "tree", samples=3)
    chosen = list(subset(13, 3, 0, ""))
    assert split.inputs["a"][:, 0].tolist() == chosen
    assert split.inputs["b"][1].tolist() == split.targets[0].tolist() == chosen


def test_reads_a_dataset_once_in_order_with_a_fixed_seed(folder: Path) -> None:
    torch.manual_seed(5)
    first = load(folder, "Items", samples=4)
    chosen = list(subset(13, 4, 0, ""))
    assert load_callable("data.py:Items.read.copy", folder)() == chosen
    torch.manual_seed(6)
    again = load(folder, "Items", samples=4)
    assert torch.equal(first.inputs, again.inputs)
    assert first.targets.tolist() == chosen
    assert first.targets.dtype == torch.int64
    noise = first.inputs - torch.tensor(chosen)[:, None]
    assert ((noise >= 0) & (noise < 2)).all()


def test_samples_beyond_what_there_is(folder: Path) -> None:
    for name in ("pair", "Items"):
        with pytest.raises(UserError, match=r"data\.train\.samples is 14, but there are only 13"):
            load(folder, name, samples=14)
    assert len(load(folder, "pair", samples=13)) == 13


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("uneven", r"data\.train has inputs of \[13\] and targets of \[12\]"),
        ("uneven_tree", r"inputs of \[4, 13\] and targets of \[13\]"),
        ("uneven_both", r"inputs of \[4, 13\] and targets of \[4, 13\]"),
        ("empty", "has no samples"),
        ("lists", "holds int where a tensor"),
        ("scalar", "holds Tensor where a tensor with one row a sample"),
        ("nothing", "returned NoneType"),
        ("broken", r"data\.train\.factory 'data\.py:broken' raised RuntimeError: no disk"),
        ("Unpaired", "items must be pairs"),
        ("Ragged", "reading the Dataset raised RuntimeError"),
        ("Stream", "without length or order"),
    ],
)
def test_refuses(folder: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(folder, name)

"""Splits as the job asks for them: made by a factory, cut to a number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import Dataset, IterableDataset, default_collate

from lossgrid.data import Split
from lossgrid.errors import UserError
from lossgrid.job import SplitSpec
from lossgrid.problem.factory import call, inside, seeded, user_errors


def load_split(name: str, spec: SplitSpec, folder: Path) -> Split:
    """Make a split and cut it to ``spec.samples``.

    The factory returns a `Split`, a tuple of tensors (inputs, targets), each possibly a pytree
    of them, or a map-style Dataset of such pairs, whose items are read once, in the order of
    use, right after seeding.

    Raises:
        UserError: if the factory fails or returns something else, if inputs and targets differ
            in length, or if there are no samples or fewer than asked for.
    """
    key = f"data.{name}"
    made = call(f"{key}.factory", spec.factory, folder, 0, **spec.kwargs)
    if isinstance(made, Dataset):
        made = _read_dataset(made, key, spec, folder)
    elif isinstance(made, Split):
        made = _cut(made, key, spec)
    elif isinstance(made, tuple) and len(made) == 2:
        made = _cut(Split(*made), key, spec)
    else:
        raise UserError(
            f"{key}.factory {spec.factory!r} returned {type(made).__name__}: it must return a "
            "lossgrid.data.Split, a tuple (inputs, targets) of tensors or a map-style Dataset"
        )
    return made


def subset(available: int, samples: int | None, seed: int, key: str) -> Sequence[int]:
    """Choose samples: the first of a permutation, or, for None, all in their order.

    The permutation is NumPy's ``Generator(Philox(seed)).permutation(available)``.

    Raises:
        UserError: if there are no samples, or fewer than asked for.
    """
    if available == 0:
        raise UserError(f"{key} has no samples: check its factory and kwargs")
    if samples is None:
        return range(available)
    if samples > available:
        raise UserError(
            f"{key}.samples is {samples}, but there are only {available}: "
            "ask for fewer, or leave it out to use all"
        )
    generator = np.random.Generator(np.random.Philox(seed))
    chosen: list[int] = generator.permutation(available)[:samples].tolist()
    return chosen


def shuffled(split: Split) -> Split:
    """The samples of a split in random order, the same every time."""
    generator = np.random.Generator(np.random.Philox(0))
    order = torch.from_numpy(generator.permutation(len(split)))
    inputs, targets = (
        tree_map(lambda leaf: leaf[order], tree) for tree in (split.inputs, split.targets)
    )
    return replace(split, inputs=inputs, targets=targets)


def _cut(split: Split, key: str, spec: SplitSpec) -> Split:
    _check_lengths(split, key)
    indices = subset(len(split), spec.samples, spec.seed, key)
    if spec.samples is None:
        return split
    chosen = torch.tensor(indices)

    def cut(leaf: Tensor) -> Tensor:
        return leaf[chosen]

    inputs, targets = (tree_map(cut, tree) for tree in (split.inputs, split.targets))
    return replace(split, inputs=inputs, targets=targets)


def _check_lengths(split: Split, key: str) -> None:
    inputs, targets = tree_leaves(split.inputs), tree_leaves(split.targets)
    for leaf in (*inputs, *targets):
        if not isinstance(leaf, Tensor) or leaf.dim() == 0:
            raise UserError(
                f"{key} holds {type(leaf).__name__} where a tensor with one row a sample is "
                "needed: correct its factory"
            )
    lengths = {len(leaf) for leaf in inputs}, {len(leaf) for leaf in targets}
    if lengths[0] != lengths[1] or len(lengths[0]) != 1:
        raise UserError(
            f"{key} has inputs of {sorted(lengths[0])} and targets of {sorted(lengths[1])} "
            "samples: they must be equally many"
        )


def _read_dataset(dataset: Any, key: str, spec: SplitSpec, folder: Path) -> Split:
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise UserError(
            f"{key}.factory {spec.factory!r} returned a Dataset without length or order: return a "
            "map-style one, with __len__ and __getitem__"
        )
    indices = subset(len(dataset), spec.samples, spec.seed, key)
    with user_errors(f"{key}: reading the Dataset"), inside(folder), seeded():
        items = [dataset[index] for index in indices]
        if not all(isinstance(item, (tuple, list)) and len(item) == 2 for item in items):
            raise UserError("its items must be pairs (input, target)")
        split = Split(*default_collate(items))
    _check_lengths(split, key)
    return split

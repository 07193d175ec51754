"""The samples of one split, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class Split:
    """Inputs and targets of equally many samples.

    Attributes:
        inputs: a tensor, or a pytree of tensors, whose first dimension counts samples.
        targets: likewise.
        prepare: turns a batch of inputs, on its device, into what the model reads in a given
            dtype, the same way every time; None: floating-point inputs are cast, no more.
    """

    inputs: Any
    targets: Any
    prepare: Callable[[Any, torch.dtype], Any] | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(tree_leaves(self.inputs)[0].shape[0])

    def rows(self, begin: int, end: int) -> tuple[Any, Any]:
        """Inputs and targets of samples [begin, end) as they are stored; views of the data."""
        inputs, targets = (
            tree_map(lambda leaf: leaf[begin:end], tree) for tree in (self.inputs, self.targets)
        )
        return inputs, targets

    def leaves(self) -> Iterator[Tensor]:
        """All tensors that its samples consist of."""
        yield from tree_leaves((self.inputs, self.targets))

    def batch(self, begin: int, end: int, dtype: torch.dtype) -> tuple[Any, Any]:
        """Samples [begin, end) as model and loss read them in ``dtype``.

        Integer tensors stay as they are unless ``prepare`` turns them. What ``prepare`` and the
        loss are given are copies, since they might write into it; the inputs returned may be a
        view of the data.
        """
        inputs, targets = self.rows(begin, end)
        if self.prepare is None:
            inputs = cast_floats(inputs, dtype)
        else:
            inputs = self.prepare(tree_map(Tensor.clone, inputs), dtype)
        return inputs, cast_floats(tree_map(Tensor.clone, targets), dtype)


def cast_floats(tree: Any, dtype: torch.dtype) -> Any:
    """Tensors in ``dtype``, those of integers as they are."""

    def cast(leaf: Tensor) -> Tensor:
        return leaf.to(dtype) if leaf.is_floating_point() else leaf

    return tree_map(cast, tree)

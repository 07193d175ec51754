"""Samples of unequal sizes, such as graphs, of which a function of the user makes batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lossgrid.data.split import Split, cast_floats


@dataclass(frozen=True)
class Collated(Split):
    """A split whose samples are no rows of tensors; its inputs and targets are their numbers.

    Attributes:
        items: the samples, whatever they are.
        collate: makes (inputs, targets) of some of them, trees of tensors: inputs as the model
            reads them, targets as the loss does. The same every time.
    """

    items: Sequence[Any] = field(kw_only=True)
    collate: Callable[[list[Any]], tuple[Any, Any]] = field(kw_only=True)

    @classmethod
    def of(cls, items: Sequence[Any], collate: Callable[[list[Any]], tuple[Any, Any]]) -> Collated:
        """All of some samples, in their order."""
        numbers = torch.arange(len(items))
        return cls(numbers, numbers, items=items, collate=collate)

    def batch(self, begin: int, end: int, dtype: torch.dtype) -> tuple[Any, Any]:
        """See `Split`; collated anew, on the device."""

        def placed(leaf: Any) -> Tensor:
            if not isinstance(leaf, Tensor):
                raise TypeError(f"collate made {type(leaf).__name__} where a tensor is needed")
            return leaf.to(self.inputs.device, copy=True)

        chosen = [self.items[number] for number in self.inputs[begin:end].tolist()]
        inputs, targets = self.collate(chosen)
        found: tuple[Any, Any] = cast_floats(tree_map(placed, (inputs, targets)), dtype)
        return found

    def leaves(self) -> Iterator[Tensor]:
        """See `Split`: of each sample, collated alone."""
        for number in self.inputs.tolist():
            yield from tree_leaves(self.collate([self.items[number]]))

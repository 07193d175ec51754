"""A network as two graphs: one for a point's weights, one for each of its batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec, tree_leaves, tree_unflatten

from lossgrid.evaluate.capturing import Captured
from lossgrid.evaluate.tracing import tensors_of

CAPTURED = ("cuda",)
"""Devices whose operations are launched together."""

Shapes = tuple[tuple[torch.Size, torch.dtype], ...]
"""Of the leaves of a batch of inputs; a graph is good for one kind of these."""


@dataclass
class Graph:
    """See `split_by_weights`.

    Attributes:
        weights: from the network's tensors to what `batch` needs of them.
        batch: from that, and the leaves of the inputs, to the leaves of the outputs.
        outputs: how these make up the outputs.
        handed: what `weights` made at the present point.
    """

    weights: Callable[..., tuple[Any, ...]]
    batch: Callable[..., tuple[Any, ...]]
    outputs: TreeSpec
    handed: tuple[Any, ...] = ()

    @classmethod
    def of(
        cls, weights: fx.GraphModule, batch: fx.GraphModule, outputs: TreeSpec, inputs: Any
    ) -> Graph:
        """A graph for inputs like these, on their device."""
        leaves = tree_leaves(inputs)
        device = leaves[0].device
        if device.type not in CAPTURED:
            return cls(weights, batch, outputs)
        captured = Captured(batch, len(leaves), device)
        return cls(Captured(weights, 0, device), captured, outputs)

    def __call__(self, inputs: Any) -> Any:
        """Outputs at the present point."""
        return tree_unflatten(self.batch(*self.handed, *tree_leaves(inputs)), self.outputs)


def shapes(inputs: Any) -> Shapes:
    """Which graph a batch of inputs needs."""
    return tuple((leaf.shape, leaf.dtype) for leaf in tree_leaves(inputs))


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's tensors by name, in the order in which graphs take them."""
    return {name: tensor.detach() for name, tensor in tensors_of(network).items()}

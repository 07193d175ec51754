"""A network as two graphs: one for a point's weights, one for each of its batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec, tree_leaves, tree_structure, tree_unflatten

from lossgrid.evaluate.capturing import Captured
from lossgrid.evaluate.programs import Program
from lossgrid.evaluate.tracing import tensors_of

CAPTURED = ("cuda",)
"""Devices whose operations are launched together."""

Shapes = tuple[tuple[torch.Size, torch.dtype], ...]
"""Of the leaves of a batch of inputs; a graph is good for one kind of these."""


@dataclass(frozen=True)
class Recording:
    """What a network does with the batches of a split, as plain data; see `split_by_weights`.

    Attributes:
        weights: from the network's tensors to what `batch` needs of them.
        batch: from that, and the leaves of the inputs, to the leaves of the outputs.
        outputs: what the network returns, with the leaves' numbers in their place.
        inputs: of a batch.
    """

    weights: Program
    batch: Program
    outputs: Any
    inputs: Shapes

    @classmethod
    def of(
        cls, weights: fx.GraphModule, batch: fx.GraphModule, outputs: TreeSpec, inputs: Any
    ) -> Recording:
        """Of two graphs that have been recorded with these inputs."""
        numbered = tree_unflatten(list(range(outputs.num_leaves)), outputs)
        return cls(Program.of(weights), Program.of(batch), numbered, shapes(inputs))


class Graph:
    """A recorded network on a device.

    Attributes:
        handed: what the weights come to at the present point, as `batch` needs them.
    """

    def __init__(self, recording: Recording, device: torch.device) -> None:
        self._weights: Callable[..., tuple[Any, ...]] = recording.weights.on(device)
        self._batch: Callable[..., tuple[Any, ...]] = recording.batch.on(device)
        if device.type in CAPTURED:
            self._weights = Captured(self._weights, 0, device)
            self._batch = Captured(self._batch, len(recording.inputs), device)
        self._outputs = tree_structure(recording.outputs)
        self.handed: tuple[Any, ...] = ()

    def move(self, *tensors: Tensor) -> None:
        """Go to the point at which the network has these tensors."""
        self.handed = ()  # before as many new ones are made
        self.handed = self._weights(*tensors)

    def __call__(self, inputs: Any) -> Any:
        """Outputs at the present point."""
        return tree_unflatten(self._batch(*self.handed, *tree_leaves(inputs)), self._outputs)


def shapes(inputs: Any) -> Shapes:
    """Which graph a batch of inputs needs."""
    return tuple((leaf.shape, leaf.dtype) for leaf in tree_leaves(inputs))


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's tensors by name, in the order in which graphs take them."""
    return {name: tensor.detach() for name, tensor in tensors_of(network).items()}

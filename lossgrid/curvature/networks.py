"""The network in forms that can be differentiated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map, tree_unflatten

from lossgrid.curvature.convolution import differentiate_twice
from lossgrid.evaluate.fusing import fold_norms, keep_copies, let_views_copy
from lossgrid.evaluate.graphs import Shapes, shapes
from lossgrid.evaluate.networks import Forward, PlainNetwork, ordered
from lossgrid.evaluate.tracing import Trace, tensors_of, trace
from lossgrid.problem.forward import forward
from lossgrid.problem.losses import PerSample


class Gradient(NamedTuple):
    """Of a batch's loss by some weights.

    Attributes:
        parts: one for each of the weights.
        weights: leaves of the graph that the parts come from, if they can be differentiated again.
    """

    parts: tuple[Tensor, ...]
    weights: list[Tensor]

    def product(self, vectors: list[Tensor], *, again: bool) -> tuple[Tensor, ...]:
        """With the Hessian: the gradient of this one's product with vectors (Pearlmutter, 1994).

        Args:
            vectors: in the shapes of the weights.
            again: whether another product is to follow.
        """
        pairs = [(g, v) for g, v in zip(self.parts, vectors, strict=True) if g.requires_grad]
        if not pairs:  # the loss is linear in the weights
            return tuple(torch.zeros_like(weight) for weight in self.weights)
        parts, along = zip(*pairs, strict=True)
        twice: tuple[Tensor, ...] = torch.autograd.grad(
            parts, self.weights, along, retain_graph=again, materialize_grads=True
        )
        return twice


@dataclass(frozen=True)
class Differentiable:
    """A network whose outputs can be differentiated by its weights.

    Attributes:
        forward: from a batch of inputs to outputs.
        weights: some of its parameters.
    """

    forward: Forward
    weights: list[Tensor]

    def gradient(
        self, loss: PerSample, inputs: Any, targets: Any, fresh: int, *, again: bool
    ) -> Gradient:
        """Of the loss's sum over a batch.

        Args:
            loss: of samples.
            inputs, targets: the batch.
            fresh: the first sample that counts.
            again: whether it is to be differentiated again.
        """
        with torch.enable_grad():  # a mode of the thread
            total = loss(self.forward(inputs), targets)[fresh:].sum()
            parts: tuple[Tensor, ...] = torch.autograd.grad(
                total, self.weights, create_graph=again, materialize_grads=True
            )
        return Gradient(parts, self.weights)


def plain(network: PlainNetwork, names: Iterable[str], lanes: int) -> list[Differentiable]:
    """The user's own module, a lane at most once at a time: it may keep state as it runs."""
    found = []
    for model in network.modules(lanes):
        forward = _Copying(model)
        found.append(Differentiable(forward, _leaves(model, names)))
    return found


def folded(
    network: PlainNetwork, names: Iterable[str], batches: Iterable[Any], channels_last: bool
) -> Differentiable:
    """A graph of the same operations, BatchNorm folded into the layers; any lane may run it.

    Derivatives that the module itself defines, or stops, are lost: what comes of it must be
    compared with the plain one.

    Args:
        network: at any place.
        names: of the parameters.
        batches: of inputs, one of each kind that it will be given.
        channels_last: whether it computes on images whose channels lie together in memory.

    Raises:
        Exception: of any kind, if it can't be traced.
    """
    (model,) = network.modules(1)
    graphs = {}
    for inputs in batches:
        traced = trace(model, inputs)
        fold_norms(traced.graph)
        keep_copies(traced.graph)
        let_views_copy(traced.graph)
        differentiate_twice(traced.graph)
        graphs[shapes(inputs)] = traced
    return Differentiable(_Traced(model, graphs, channels_last), _leaves(model, names))


def _leaves(model: nn.Module, names: Iterable[str]) -> list[Tensor]:
    known = dict(model.named_parameters())
    return [known[name].requires_grad_(True) for name in names]


class _Copying:
    """A module that may write into its inputs, which may be views of the data."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __call__(self, inputs: Any) -> Any:
        return forward(self._model, tree_map(Tensor.clone, inputs))


class _Traced:
    """Graphs of a module, by the shapes of inputs, with its own tensors."""

    def __init__(self, model: nn.Module, traces: dict[Shapes, Trace], channels_last: bool) -> None:
        self._tensors = list(tensors_of(model).values())
        self._channels_last = channels_last
        self._graphs = {key: (_module(traced), traced.outputs) for key, traced in traces.items()}

    def __call__(self, inputs: Any) -> Any:
        graph, outputs = self._graphs[shapes(inputs)]
        leaves = tree_leaves(inputs)
        if self._channels_last:
            leaves = [ordered(leaf) for leaf in leaves]
        return tree_unflatten(graph(*self._tensors, *leaves), outputs)


def _module(traced: Trace) -> fx.GraphModule:
    """A graph whose constants, which are made as it is recorded, may take part in derivatives."""
    module = fx.GraphModule(traced.owner, traced.graph)
    for node in traced.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        setattr(module, name, getattr(module, name).clone())
    return module

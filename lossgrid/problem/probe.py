"""A trial of model, data, loss and metrics on two samples, before the long run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lossgrid.data import Collated, Split
from lossgrid.errors import UserError
from lossgrid.problem.factory import seeded, user_errors
from lossgrid.problem.forward import forward
from lossgrid.problem.losses import PerSample, cross_entropy, logits_of


def probe(
    model: nn.Module, name: str, split: Split, loss: PerSample, metrics: Mapping[str, PerSample]
) -> None:
    """Evaluate loss and metrics on the first two samples of split ``name``.

    The data are prepared in the dtype of the model's weights.

    Raises:
        UserError: if model, loss or a metric raise, if one of the latter does not return one
            value a sample, if the model replaces its weights, or if cross_entropy meets labels
            that are none of the classes.
    """
    key = f"data.{name}"
    samples = min(len(split), 2)
    with torch.no_grad(), seeded():
        with user_errors(f"{key}: preparing a batch"):
            inputs, targets = split.batch(0, samples, _dtype(model))
        held = _places(model)
        with user_errors(f"{key}: the model, given inputs {_shapes(inputs)},"):
            outputs = forward(model, tree_map(Tensor.clone, inputs))  # it might write into them
        _check_held(held, _places(model))
        if loss is cross_entropy:
            with user_errors(f"{key}: checking the labels"):
                known = targets if isinstance(split, Collated) else split.targets
                _check_labels(logits_of(outputs), known)
        for title, function in {"loss": loss, **metrics}.items():
            with user_errors(f"{key}: {title}, given outputs {_shapes(outputs)},"):
                values = function(outputs, targets)
            if not isinstance(values, Tensor) or values.shape != (samples,):
                raise UserError(
                    f"{key}: {title} returned {_shapes(values)} for {samples} samples; it must "
                    f"return one value a sample, of shape ({samples},): do not average"
                )


def check_own_weights(copy: nn.Module, split: Split) -> None:
    """Check that a copy of the network computes with its own weights.

    Functions that are kept in a network still use the one that they were made for.

    Raises:
        UserError: it computes with others alone.
    """
    with torch.enable_grad(), seeded():
        try:
            inputs, _ = split.batch(0, min(len(split), 2), _dtype(copy))
            outputs = forward(copy, tree_map(Tensor.clone, inputs))
        except Exception:
            return  # which is told elsewhere
    used = _weights_of(outputs)
    own = {id(weight) for weight in copy.parameters()}
    if used and used.isdisjoint(own):
        raise UserError(
            "model: a function that is kept in it computes with the weights of the network it was "
            "made for, so that no point of the plane would reach them: make it a method"
        )


def _weights_of(outputs: Any) -> set[int]:
    """The leaves, by id, that outputs have been computed from, as far as gradients would tell."""
    leaves = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    waiting: list[Any] = [leaf.grad_fn for leaf in leaves if leaf.grad_fn is not None]
    seen, found = set(waiting), set()
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return found


def _dtype(model: nn.Module) -> torch.dtype:
    weights = (weight for weight in model.parameters() if weight.is_floating_point())
    return next(weights, torch.empty(0)).dtype


def _places(model: nn.Module) -> dict[str, int]:
    """Where in memory each weight lies."""
    return {name: weight.data_ptr() for name, weight in model.named_parameters()}


def _check_held(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Check that the model's weights are where they were, and so can be moved from there."""
    for name, place in before.items():
        if after.get(name) != place:
            raise UserError(
                f"model: it replaces its weight {name} as it runs, so that no point of the plane "
                "would reach it: compute from it what is needed, without assigning weight.data"
            )


def _check_labels(outputs: Tensor, targets: Tensor) -> None:
    """Check that integer targets are classes, since a GPU would fail on others much later."""
    if targets.is_floating_point():
        return  # class probabilities
    classes = outputs.shape[1]
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= classes:
        raise UserError(
            f"they go from {low} to {high}, but the model has {classes} classes "
            f"(0 to {classes - 1}): correct the labels or the model's number of classes"
        )


def _shapes(tree: Any) -> str:
    def shape(leaf: Any) -> str:
        return str(tuple(leaf.shape)) if isinstance(leaf, Tensor) else type(leaf).__name__

    return str(tree_map(shape, tree)).replace("'", "")

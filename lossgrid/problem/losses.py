"""Losses and metrics, one value a sample.

Each maps outputs and targets of n samples to a tensor of shape (n,). A sample's value is the mean
over any further dimensions of the targets (the tokens of a text, the pixels of a map). Those of
this module take the network's outputs as one tensor, or what is called logits among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lossgrid.errors import UserError
from lossgrid.job import metric_name
from lossgrid.problem.factory import load_callable

NARROW = 64
"""Up to so many classes, a softmax over columns costs CPUs a fraction of one over rows."""

IGNORED = -100
"""The target of a token that does not count, as torch and transformers have it."""

PerSample = Callable[[Any, Any], Tensor]


def logits_of(outputs: Any) -> Tensor:
    """The one tensor among a network's outputs that says what it predicts.

    Args:
        outputs: that tensor, or a dict or an object that has it as `logits`.

    Raises:
        UserError: there is none.
    """
    if isinstance(outputs, Tensor):
        return outputs
    by_name = outputs.get if isinstance(outputs, Mapping) else partial(getattr, outputs)
    found = by_name("logits", None)
    if not isinstance(found, Tensor):
        raise UserError(
            f"the model returns {type(outputs).__name__} without a tensor called logits: name a "
            "loss and metrics of your own, which are given all of it"
        )
    return found


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """-log softmax(outputs)[target], as `torch.nn.functional.cross_entropy` defines it.

    Args:
        outputs: logits (n, classes, ...); see `logits_of`.
        targets: class indices (n, ...), or class probabilities of the outputs' shape.
    """
    outputs = logits_of(outputs)
    narrow = outputs.dim() == 2 and targets.dim() == 1 and outputs.shape[1] <= NARROW
    if narrow and outputs.device.type == "cpu":
        outputs, targets = outputs.t().contiguous()[None], targets[None]
        return F.cross_entropy(outputs, targets, reduction="none")[0]
    return _mean_per_sample(F.cross_entropy(outputs, targets, reduction="none"))


def next_token(outputs: Any, targets: Tensor) -> Tensor:
    """Cross entropy of each text's next tokens, averaged over its tokens.

    Args:
        outputs: logits (n, tokens, vocabulary); see `logits_of`. Those of the last token are of
            one that is not there.
        targets: the texts themselves (n, tokens); `IGNORED` where there is nothing to predict,
            as in padding.

    Returns: (n,); 0 for a text without a token to predict.
    """
    logits, following = logits_of(outputs)[:, :-1].transpose(1, 2), targets[:, 1:]
    losses = F.cross_entropy(logits, following, reduction="none", ignore_index=IGNORED)
    counted = (following != IGNORED).sum(dim=1)
    return losses.sum(dim=1) / counted.clamp(min=1)


def mse(outputs: Any, targets: Tensor) -> Tensor:
    """Mean of (output - target)^2.

    Args:
        outputs: of shape (n, ...); see `logits_of`.
        targets: of the same shape.

    Raises:
        UserError: if the shapes differ, which would broadcast silently.
    """
    outputs = logits_of(outputs)
    if outputs.shape != targets.shape:
        raise UserError(
            f"mse needs outputs and targets of one shape, not {tuple(outputs.shape)} and "
            f"{tuple(targets.shape)}: reshape the targets or the model's outputs"
        )
    return _mean_per_sample((outputs - targets).square())


def accuracy(outputs: Any, targets: Tensor) -> Tensor:
    """1 where the class with the largest output is the target, else 0, in the outputs' dtype.

    Args:
        outputs: of shape (n, classes, ...); see `logits_of`.
        targets: class indices (n, ...), or class probabilities of the outputs' shape.
    """
    outputs = logits_of(outputs)
    if targets.is_floating_point() and targets.shape == outputs.shape:
        targets = targets.argmax(dim=1)
    return _mean_per_sample((outputs.argmax(dim=1) == targets).to(outputs.dtype))


_KNOWN: dict[str, PerSample] = {
    "cross_entropy": cross_entropy,
    "next_token": next_token,
    "mse": mse,
    "accuracy": accuracy,
}


def load_loss(name: str, folder: Path) -> PerSample:
    """Return the loss or metric that a job names, by lossgrid's name or by "module:callable".

    Raises:
        UserError: if the callable cannot be imported.
    """
    return load_callable(name, folder) if ":" in name else _KNOWN[name]


def load_metrics(names: list[str], loss: PerSample, folder: Path) -> dict[str, PerSample]:
    """Return the metrics that a job names, by `metric_name`; "loss" is ``loss`` itself.

    Raises:
        UserError: if a callable cannot be imported.
    """
    return {
        metric_name(name): loss if name == "loss" else load_loss(name, folder) for name in names
    }


def _mean_per_sample(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1) if values.dim() > 1 else values

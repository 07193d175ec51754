"""How a network is given a batch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn


def forward(model: nn.Module, inputs: Any) -> Any:
    """What the network returns for a batch; see `arguments`."""
    positional, named = arguments(model, inputs)
    return model(*positional, **named)


def arguments(model: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A batch as the arguments of a network, positional and named.

    A dict whose keys are all names of arguments is taken apart, as networks for language want it;
    anything else is the only argument.
    """
    if isinstance(inputs, Mapping) and all(isinstance(key, str) for key in inputs):
        try:
            inspect.signature(model.forward).bind(**inputs)
        except (TypeError, ValueError):  # other names, or a signature that can't be known
            return (inputs,), {}
        return (), dict(inputs)
    return (inputs,), {}

"""Copies of the user's network."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lossgrid.errors import UserError, summary


def copied(model: nn.Module) -> nn.Module:
    """A copy with weights of its own; results that modules have kept are copied as numbers.

    Raises:
        UserError: it holds what can't be copied.
    """
    kept = [
        leaf
        for module in model.modules()
        for leaf in tree_leaves(dict(vars(module)))
        if isinstance(leaf, Tensor) and not leaf.is_leaf
    ]
    try:
        return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in kept})
    except Exception as error:
        raise UserError(
            f"model: it can't be copied ({summary(error)}); remove what is kept in it that is no "
            "part of the network"
        ) from error

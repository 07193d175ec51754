"""Which statistics BatchNorm layers normalize with."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lossgrid.errors import UserError
from lossgrid.job import BatchNormSpec


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorm layers of a model that have running statistics, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def choose_statistics(model: nn.Module, spec: BatchNormSpec) -> None:
    """Let a model, in eval mode, normalize as a job says.

    With `train` each batch is normalized by its own mean and variance, and no running ones change.
    Dropout and other layers stay in eval mode.

    Raises:
        UserError: there is no layer for which that makes a difference.
    """
    if spec.mode == "eval":
        return
    norms = batch_norms(model)
    if not norms:
        raise UserError(
            f"evaluation.batchnorm.mode: {spec.mode}: the model has no BatchNorm layer with "
            "running statistics; leave it out"
        )
    if spec.mode == "train":
        for norm in norms.values():
            norm.train()
            norm.track_running_stats = False

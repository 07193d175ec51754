"""The problem as every later layer sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lossgrid.data import Split
from lossgrid.errors import UserError
from lossgrid.job import Job, ModelSpec, NetworkSpec
from lossgrid.problem.batchnorm import choose_statistics
from lossgrid.problem.checkpoint import State, check_finite, load_state, read_checkpoint
from lossgrid.problem.copies import copied
from lossgrid.problem.factory import call
from lossgrid.problem.losses import PerSample, load_loss, load_metrics
from lossgrid.problem.probe import check_own_weights, probe
from lossgrid.problem.splits import load_split
from lossgrid.shortage import fitting


@dataclass(frozen=True)
class Problem:
    """A trained model, its data and its loss.

    Attributes:
        build_model: returns a new, independent module at each call, in eval mode, with the
            checkpoint's weights, on the CPU.
        splits: by name, in the job's order, cut to the samples that the job asks for.
        loss: maps outputs and targets of n samples to losses (n,).
        metrics: by name, in the job's order; likewise. "loss" among them is ``loss`` itself.
        sampled: the splits that are samples of more data.
        recompute: of how many batches of the training data BatchNorm's running statistics are
            computed anew at each point; None if they are not.
    """

    build_model: Callable[[], nn.Module]
    splits: dict[str, Split]
    loss: PerSample
    metrics: dict[str, PerSample]
    sampled: frozenset[str] = frozenset()
    recompute: int | None = None


def load_problem(
    job: Job, weights: State | None = None, splits: dict[str, Split] | None = None
) -> Problem:
    """Load what the job names, and try it on two samples of each split.

    Args:
        job: what to load.
        weights: of the model's checkpoint; None to read them here.
        splits: None to make them here.

    Raises:
        OutOfMemoryError: if a part does not fit into memory.
        UserError: if a part cannot be loaded, or the parts do not fit together.
    """
    with fitting("model"):
        model = load_model(job.model, job.folder, weights)
    batchnorm = job.evaluation.batchnorm
    choose_statistics(model, batchnorm)
    splits = _splits(job) if splits is None else splits
    loss = load_loss(job.loss, job.folder)
    metrics = load_metrics(list(job.metrics), loss, job.folder)

    def build_model() -> nn.Module:
        # A copy, not the factory again: that may return one object every time.
        return copied(model)

    with fitting("model, on two samples"):
        trial = build_model()
        check_own_weights(trial, next(iter(splits.values())))
        for name, split in splits.items():
            probe(trial, name, split, loss, metrics)
    sampled = frozenset(job.sampled)
    return Problem(build_model, splits, loss, metrics, sampled, batchnorm.batches)


def _splits(job: Job) -> dict[str, Split]:
    splits = {}
    for name, spec in job.data.items():
        with fitting(f"data.{name}"):
            splits[name] = load_split(name, spec, job.folder)
    return splits


def make_model(spec: NetworkSpec, folder: Path, seed: int = 0) -> nn.Module:
    """Call the model's factory, all generators seeded.

    Raises:
        UserError: if the factory fails or returns something that is not a module.
    """
    model = call("model.factory", spec.factory, folder, seed, **spec.kwargs)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model.factory {spec.factory!r} returned {type(model).__name__}: "
            "it must return a torch.nn.Module"
        )
    return model


def load_model(spec: ModelSpec, folder: Path, weights: State | None = None) -> nn.Module:
    """The trained model, in eval mode, on the CPU.

    Args:
        spec: what to load.
        folder: the job file's.
        weights: of its checkpoint, if it has one; None to read them here.

    Raises:
        UserError: if it cannot be made, or its checkpoint does not fit.
    """
    model = make_model(spec, folder)
    _check_kind(model, spec.factory)
    if spec.checkpoint is None:
        check_finite(model, f"the model of {spec.factory!r}")
    else:
        load_state(model, weights or read_checkpoint(spec.checkpoint), spec.checkpoint)
    return model.cpu().eval()


def _check_kind(model: nn.Module, factory: str) -> None:
    """Refuse networks whose weights can't be moved."""
    if isinstance(model, torch.jit.ScriptModule):
        raise UserError(
            f"the model of {factory!r} is compiled to TorchScript: use the module itself"
        )
    for name, weight in model.named_parameters():
        if is_lazy(weight) or weight.is_meta:
            raise UserError(
                f"the model of {factory!r} has no numbers in {name} yet: give it a batch, or load "
                "its weights"
            )

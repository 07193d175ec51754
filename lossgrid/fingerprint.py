"""What a job is made of, part by part, so that a results file is never continued by another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lossgrid.data import Split
from lossgrid.evaluate import Plan
from lossgrid.job import Job
from lossgrid.problem import Problem
from lossgrid.space import Grid, Plane

HARDWARE = ("values at theta", "plan hardware", "plan torch_version")
"""Parts that differ when the same job is computed on another kind of machine."""


def fingerprint(
    job: Job, model: nn.Module, problem: Problem, plane: Plane, grid: Grid, plan: Plan
) -> dict[str, str]:
    """Readable text for each part that is small, a hash of the contents for each that is not.

    Paths and times do not count.
    """
    parts = {
        "weights": _digest(model.state_dict()),
        "directions": _digest({"corners": plane.corners, **_names(plane)}),
        "alpha": _axis(grid.alpha),
        "beta": "none" if grid.beta is None else _axis(grid.beta),
        "refine": str(job.grid.refine).lower(),
        "loss": job.loss,
        "metrics": ", ".join(job.metrics),
        "tolerance": str(job.evaluation.tolerance).lower(),
    }
    parts |= {f"data {name}": _split(split) for name, split in problem.splits.items()}
    return parts | {f"plan {key}": str(value) for key, value in asdict(plan).items()}


def theta_values(values: Mapping[str, float]) -> dict[str, str]:
    """The values at theta to the bit: they tell another model, loss or machine apart."""
    return {"values at theta": ", ".join(f"{name} {x:.17g}" for name, x in values.items())}


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[tuple[str, str]]:
    """(part, one phrase that says how it differs) for each part that does."""
    return [
        (part, f"{part} ({theirs.get(part, 'absent')} there, {ours.get(part, 'absent')} here)")
        for part in {**theirs, **ours}
        if theirs.get(part) != ours.get(part)
    ]


def _axis(values: NDArray[np.float64]) -> str:
    return f"{values.size} points from {float(values[0])!r} to {float(values[-1])!r}"


def _names(plane: Plane) -> dict[str, Tensor]:
    """Where each entry lies, as tensors, so that they are hashed with the rest."""
    return {e.name: torch.tensor([e.begin, e.end]) for e in plane.layout.entries}


def _split(split: Split) -> str:
    leaves = [*tree_leaves(split.inputs), *tree_leaves(split.targets)]
    digest = _digest({str(number): leaf for number, leaf in enumerate(leaves)})
    return f"{len(split)} samples {digest} {_described(split.prepare)}"


def _described(prepare: Any) -> str:
    if prepare is None:
        return "as stored"
    if hasattr(prepare, "__dataclass_fields__"):
        return repr(prepare)
    return str(getattr(prepare, "__qualname__", type(prepare).__qualname__))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """BLAKE2b over names, types, shapes and bytes, in order."""
    total = hashlib.blake2b(digest_size=12)
    for name, tensor in tensors.items():
        array = tensor.detach().cpu().contiguous()
        total.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        total.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()

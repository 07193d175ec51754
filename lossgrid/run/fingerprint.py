"""What a job is made of, part by part, so that a results file is never continued by another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossgrid.data import Collated, Split
from lossgrid.evaluate import Plan, hardware
from lossgrid.job import BatchNormSpec, Job
from lossgrid.problem import Problem
from lossgrid.space import Grid, Plane

BLOCK = 1 << 16
"""Numbers hashed at a time."""

HARDWARE = ("values at theta", "plan hardware", "plan torch_version")
"""Parts that differ when the same job is computed on another kind of machine."""


SIZES = ("plan batch_size", "plan points_per_pass", "plan network")
"""Parts that a lack of memory may change."""


def fingerprint(
    job: Job, model: nn.Module, problem: Problem, plane: Plane, grid: Grid
) -> dict[str, str]:
    """Readable text for each part that is small, a hash of the contents for each that is not.

    Paths and times do not count.
    """
    parts = weights_part(model) | {
        "directions": digest({"corners": plane.corners, **_names(plane)}, torch.float64),
        "alpha": _axis(grid.alpha),
        "beta": "none" if grid.beta is None else _axis(grid.beta),
        "refine": _by_rule(job.grid.refine),
        "loss": job.loss,
        "metrics": ", ".join(job.metrics),
        "tolerance": _by_rule(job.evaluation.tolerance),
        "batchnorm": _statistics(job.evaluation.batchnorm),
    }
    if job.curvature is not None:
        parts["curvature"] = json.dumps(job.curvature.model_dump(), sort_keys=True)
    return parts | {f"data {name}": contents(split) for name, split in problem.splits.items()}


def weights_part(model: nn.Module) -> dict[str, str]:
    """The part that is theta and what of the network does not move."""
    return {"weights": digest(model.state_dict())}


def plan_parts(plan: Plan) -> dict[str, str]:
    """How points are evaluated."""
    return {f"plan {key}": str(value) for key, value in asdict(plan).items()}


def place_parts(device: torch.device) -> dict[str, str]:
    """Those parts of a plan that a rank finds where it runs."""
    return {
        "plan device": device.type,
        "plan hardware": hardware(device),
        "plan torch_version": torch.__version__,
    }


def theta_values(values: Mapping[str, float]) -> dict[str, str]:
    """The values at theta to the bit: they tell another model, loss or machine apart."""
    return {"values at theta": ", ".join(f"{name} {x:.17g}" for name, x in values.items())}


def are_near(theirs: Mapping[str, float], ours: Mapping[str, float]) -> bool:
    """Whether values at theta may be those of another plan for the same job: equal to a percent."""
    return list(theirs) == list(ours) and np.allclose(
        list(theirs.values()), list(ours.values()), rtol=0.01, atol=0.01, equal_nan=True
    )


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[tuple[str, str]]:
    """(part, one phrase that says how it differs) for each part that does."""
    return [
        (part, f"{part} ({theirs.get(part, 'absent')} there, {ours.get(part, 'absent')} here)")
        for part in {**theirs, **ours}
        if theirs.get(part) != ours.get(part)
    ]


def _by_rule(share: float | None) -> str:
    """A share of a value, and the version of the rules by which points are estimated from it."""
    return "none" if share is None else f"{share:g} by rules of version 1"


def _statistics(spec: BatchNormSpec) -> str:
    return spec.mode if spec.batches is None else f"{spec.mode} from {spec.batches} batches"


def _axis(values: NDArray[np.float64]) -> str:
    return f"{values.size} points from {float(values[0])!r} to {float(values[-1])!r}"


def _names(plane: Plane) -> dict[str, Tensor]:
    """Where each entry lies, as tensors, so that they are hashed with the rest."""
    return {e.name: torch.tensor([e.begin, e.end]) for e in plane.layout.entries}


def contents(split: Split) -> str:
    """A split's size, a hash of its samples, and how batches of it are prepared."""
    hashed = digest({str(number): leaf for number, leaf in enumerate(split.leaves())})
    prepare = split.collate if isinstance(split, Collated) else split.prepare
    return f"{len(split)} samples {hashed} {_described(prepare)}"


def _described(prepare: Any) -> str:
    if prepare is None:
        return "as stored"
    if hasattr(prepare, "__dataclass_fields__"):
        return repr(prepare)
    return str(getattr(prepare, "__qualname__", type(prepare).__qualname__))


def digest(tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> str:
    """BLAKE2b over names, types, shapes and bytes, in order.

    Args:
        tensors: by name.
        dtype: that numbers with a fraction are given first; None: their own.
    """
    total = hashlib.blake2b(digest_size=12)
    for name, tensor in tensors.items():
        kind = dtype if dtype and tensor.is_floating_point() else tensor.dtype
        total.update(f"{name} {kind} {tuple(tensor.shape)}".encode())
        for block in torch.split(tensor.detach().reshape(-1), BLOCK):
            total.update(block.cpu().to(kind).view(torch.uint8).numpy().data)
    return total.hexdigest()

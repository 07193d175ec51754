"""Finding where training runs lie on a plane; `lossgrid trajectory`."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lossgrid import trajectories
from lossgrid.errors import UserError
from lossgrid.fingerprint import digest
from lossgrid.job import Job, TrajectorySpec, read_job
from lossgrid.problem import find_checkpoints, load_model, open_checkpoint
from lossgrid.space import Grid, Layout, Plane, Principal, Projection, build_plane, principal
from lossgrid.store.trajectory import Trajectory

OWN = "training"
"""Name of the trajectory whose principal components are the directions, if the job gives none."""


@dataclass(frozen=True)
class Projected:
    """Where the trajectories of a job lie.

    Attributes:
        trajectories: by name; no true value is known.
        fingerprint: what they are made of, part by part.
    """

    trajectories: dict[str, Trajectory]
    fingerprint: dict[str, str]


def principal_of(job: Job) -> Principal | None:
    """The principal components that a job's directions are, if they are such.

    One rank finds them for all, since that reads every checkpoint twice.

    Raises:
        UserError: the model can't be loaded, or as `lossgrid.space.principal` does.
    """
    if job.directions.kind != "pca":
        return None
    torch.set_num_threads(1)  # sums over several threads have other bits
    model = load_model(job.model, job.folder)
    layout = Layout.of(model, job.directions)
    paths = find_checkpoints(job.directions.checkpoints)
    return principal(paths, layout, model, 1 if job.grid.beta is None else 2)


def projected(job: Job, plane: Plane, model: nn.Module, own: Principal | None) -> Projected:
    """Project all checkpoints of a job's trajectories, reading one at a time.

    Args:
        job: its trajectories, and the columns of which there will be true values.
        plane: on the CPU.
        model: that the checkpoints are of.
        own: the principal components that the plane's directions are.

    Raises:
        UserError: a checkpoint does not fit the model, or a list is not as long as it must be.
    """
    specs = dict(job.trajectories)
    paths = {name: find_checkpoints(spec.checkpoints) for name, spec in specs.items()}
    explained: dict[str, tuple[float, float]] = {}
    if own is not None:
        spanning = find_checkpoints(job.directions.checkpoints)
        name = next((name for name in paths if paths[name] == spanning), OWN)
        if paths.setdefault(name, spanning) != spanning:
            raise UserError(
                f"{job.path}: trajectories.{OWN}: is the name of the one that "
                "directions.checkpoints are; call it something else"
            )
        specs.setdefault(name, TrajectorySpec(checkpoints=job.directions.checkpoints))
        explained[name] = own.explained
    found = Projected({}, {})
    projection = Projection(plane)
    for name, spec in specs.items():
        trajectory, part = _project(job, name, spec, paths[name], projection, model)
        if name in explained:
            trajectory = replace(trajectory, explained_variance=np.array(explained[name]))
        found.trajectories[name] = trajectory
        found.fingerprint[f"trajectory {name}"] = part
    return found


def _project(
    job: Job,
    name: str,
    spec: TrajectorySpec,
    paths: Sequence[Path],
    projection: Projection,
    model: nn.Module,
) -> tuple[Trajectory, str]:
    """A trajectory, and a hash of what it was made of."""
    places, epochs, rates, contents = [], [], [], []
    for path in paths:
        checkpoint = open_checkpoint(path, model)
        places.append(projection(checkpoint.state))
        epochs.append(checkpoint.epoch)
        rates.append(checkpoint.learning_rate)
        contents.append(digest(checkpoint.state))
        if not np.isfinite(places[-1]).all():
            raise UserError(
                f"trajectories.{name}: {path} has weights that are not finite: the training "
                "diverged; leave it out"
            )
    coordinates = np.array(places).T
    unknown = np.full(len(paths), np.nan)
    trajectory = Trajectory(
        alpha=coordinates[0],
        beta=coordinates[1] if len(coordinates) > 1 else None,
        checkpoints=tuple(_shown(path, job.folder) for path in paths),
        epoch=_known(job, f"trajectories.{name}.epochs", spec.epochs, epochs),
        learning_rate=_known(
            job, f"trajectories.{name}.learning_rates", spec.learning_rates, rates
        ),
        values=dict.fromkeys(job.columns, unknown),
        explained_variance=None,
    )
    facts = [
        contents,
        *(None if f is None else f.tolist() for f in (trajectory.epoch, trajectory.learning_rate)),
    ]
    total = hashlib.blake2b(json.dumps(facts).encode(), digest_size=12).hexdigest()
    return trajectory, f"{len(paths)} checkpoints {total}"


def _shown(path: Path, folder: Path) -> str:
    """A path as a job file in `folder` would have it."""
    return min(os.path.relpath(path, folder), str(path), key=len)


def _known(
    job: Job, key: str, listed: list[float] | None, found: list[float | None]
) -> NDArray[np.float64] | None:
    """What the job says of each checkpoint, or else what the files do; NaN where one does not."""
    if listed is None:
        told = [math.nan if one is None else one for one in found]
        return None if np.isnan(told).all() else np.array(told)
    if len(listed) != len(found):
        raise UserError(
            f"{job.path}: {key}: found {len(listed)} numbers, expected one for each of "
            f"{len(found)} checkpoints"
        )
    return np.array(listed)


def trajectory(path: Path, overrides: Sequence[str]) -> str:
    """Text on where the trajectories of a job lie, without computing the surface; writes nothing.

    Args:
        path: of the job file.
        overrides: "key.path=value" settings.

    Raises:
        UserError: bad input, or the job has no trajectory.
    """
    job = read_job(path, overrides)
    own = principal_of(job)
    if own is None and not job.trajectories:
        raise UserError(
            f"{job.path}: has no trajectory; name checkpoints under 'trajectories', or take "
            "directions of kind pca"
        )
    model = load_model(job.model, job.folder)
    plane = build_plane(job, model, principal=own)
    found = projected(job, plane, model, own).trajectories
    grid = Grid.of(job)
    facts = plane.geometry().items()
    lines = ["directions: " + ", ".join(f"{name} {value:.4g}" for name, value in facts)]
    for name, one in found.items():
        lines += ["", f"{name}:", *trajectories.table(one)]
        if one.explained_variance is not None:
            lines.append(trajectories.explained(one.explained_variance))
    lines.append("")
    lines += [trajectories.coverage(name, t, grid.alpha, grid.beta) for name, t in found.items()]
    lines.append(f"all of them: {trajectories.wide_enough(list(found.values()))}")
    return "\n".join(lines)

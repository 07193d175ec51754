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

from lossgrid.engine.messages import PENDING
from lossgrid.errors import UserError
from lossgrid.job import Job, read_job
from lossgrid.problem import find_checkpoints, load_model, open_checkpoint
from lossgrid.run import trajectories
from lossgrid.run.fingerprint import digest
from lossgrid.run.recalling import Recalled, stamps
from lossgrid.space import Grid, Layout, Plane, Principal, Projection, build_plane, principal
from lossgrid.store.results import Results
from lossgrid.store.trajectory import Trajectory

OWN = "training"
"""Name of the trajectory whose principal components are the directions, if the job gives none."""


@dataclass(frozen=True)
class Projected:
    """Where the trajectories of a job lie.

    Attributes:
        trajectories: by name; no true value need be known.
        made_of: a hash of what each is made of.
    """

    trajectories: dict[str, Trajectory]
    made_of: dict[str, str]

    @property
    def fingerprint(self) -> dict[str, str]:
        """The parts of a job's fingerprint that they are."""
        return {f"trajectory {name}": hashed for name, hashed in self.made_of.items()}

    def beside(self, results: Results) -> Projected:
        """Those that a results file does not have."""
        names = self.trajectories.keys() - results.trajectories.keys()
        trajectories = {name: self.trajectories[name] for name in names}
        return Projected(trajectories, {name: self.made_of[name] for name in names})


def principal_of(job: Job, recalled: Recalled | None = None) -> Principal | None:
    """The principal components that a job's directions are, if they are such.

    One rank finds them for all, since that reads every checkpoint twice.

    Args:
        job: whose directions.
        recalled: what an earlier run has found.

    Raises:
        UserError: the model can't be loaded, or as `lossgrid.space.principal` does.
    """
    if job.directions.kind != "pca":
        return None
    torch.set_num_threads(1)  # sums over several threads have other bits
    model = load_model(job.model, job.folder)
    layout = Layout.of(model, job.directions)
    paths = find_checkpoints(job.directions.checkpoints)
    known = recalled.principal(paths, layout) if recalled else None
    return known or principal(paths, layout, model, 1 if job.grid.beta is None else 2)


def checkpoints_of(job: Job) -> dict[str, list[Path]]:
    """The files of all trajectories of a job, by their names, and of the one that its axes are of.

    Raises:
        UserError: no file matches a pattern, or two trajectories have one name.
    """
    paths = {name: find_checkpoints(spec.checkpoints) for name, spec in job.trajectories.items()}
    if job.directions.kind == "pca":
        spanning = find_checkpoints(job.directions.checkpoints)
        if spanning not in paths.values() and paths.setdefault(OWN, spanning) != spanning:
            raise UserError(
                f"{job.path}: trajectories.{OWN}: is the name of the one that "
                "directions.checkpoints are; call it something else"
            )
    return paths


def projected(
    job: Job,
    plane: Plane,
    model: nn.Module,
    own: Principal | None,
    recalled: Recalled | None = None,
) -> Projected:
    """Project all checkpoints of a job's trajectories, reading one at a time.

    Args:
        job: its trajectories, and the columns of which there will be true values.
        plane: on the CPU.
        model: that the checkpoints are of.
        own: the principal components that the plane's directions are.
        recalled: what an earlier run has found on the same plane.

    Raises:
        UserError: a checkpoint does not fit the model, or a list is not as long as it must be.
    """
    spanning = None if own is None else find_checkpoints(job.directions.checkpoints)
    found = Projected({}, {})
    projection: Projection | None = None
    for name, paths in checkpoints_of(job).items():
        known = recalled.trajectory(name, paths) if recalled else None
        if known is None:
            projection = projection or Projection(plane)
            known = _project(job, name, paths, projection, model)
        trajectory, found.made_of[name] = known
        if own is not None and paths == spanning:
            trajectory = replace(trajectory, explained_variance=np.array(own.explained))
            spanning = None
        found.trajectories[name] = trajectory
    return found


def _project(
    job: Job,
    name: str,
    paths: Sequence[Path],
    projection: Projection,
    model: nn.Module,
) -> tuple[Trajectory, str]:
    """A trajectory, and a hash of what it was made of."""
    spec = job.trajectories.get(name)
    listed = (None, None) if spec is None else (spec.epochs, spec.learning_rates)
    places, epochs, rates, contents = [], [], [], []
    stamped = stamps(paths)  # of what is read now: one that changes meanwhile is read again
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
        epoch=_known(job, f"trajectories.{name}.epochs", listed[0], epochs),
        learning_rate=_known(job, f"trajectories.{name}.learning_rates", listed[1], rates),
        values=dict.fromkeys(job.columns, unknown),
        status=np.full(len(paths), PENDING, np.uint8),
        explained_variance=None,
        stamps=stamped,
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

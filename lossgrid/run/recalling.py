"""What a results file knows of checkpoints that have not changed, so that none is read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.job import Job
from lossgrid.space import Layout, Principal, read_directions
from lossgrid.store.results import Results
from lossgrid.store.trajectory import Trajectory


def stamps(paths: Sequence[Path]) -> NDArray[np.int64]:
    """See `Trajectory.stamps`; -1 of a file that is not there."""
    found = [path.stat() if path.exists() else None for path in paths]
    return np.array([(f.st_size, f.st_mtime_ns) if f else (-1, -1) for f in found], np.int64)


class Recalled:
    """What an earlier run of a job has found, where job and files are as they were.

    Args:
        job: as it is now.
        results: of the earlier run.
    """

    def __init__(self, job: Job, results: Results) -> None:
        self._results = results
        self._now, self._then = map(yaml.safe_load, (job.to_yaml(), results.attributes["job"]))
        self._stored = results.trajectories

    def principal(self, paths: Sequence[Path], layout: Layout) -> Principal | None:
        """The principal components of checkpoints, to the bit; none if they have to be computed.

        Args:
            paths: of the checkpoints.
            layout: of what moves.
        """
        spec = self._now["directions"]
        spanning = [t for t in self._stored.values() if t.explained_variance is not None]
        if spec != self._then["directions"] or spec["normalization"] != "none":
            return None
        if not (spanning and _is_unchanged(spanning[0], paths)):
            return None
        axes = ("x",) if self._now["grid"]["beta"] is None else ("x", "y")
        try:
            found = read_directions(self._results.path, axes, layout)
        except UserError:  # another model's, say, of which the run itself will tell
            return None
        components = [layout.flatten(direction, torch.float32) for direction in found]
        assert spanning[0].explained_variance is not None
        first, second = spanning[0].explained_variance.tolist()
        return Principal(torch.stack(components), (first, second))

    def trajectory(self, name: str, paths: Sequence[Path]) -> tuple[Trajectory, str] | None:
        """A trajectory over the same plane and the hash of what it was made of, if they are known.

        Args:
            name: of the trajectory.
            paths: of its checkpoints.
        """
        stored, part = self._stored.get(name), self._results.fingerprint.get(f"trajectory {name}")
        if stored is None or part is None or not _is_unchanged(stored, paths):
            return None
        now, then = (text["trajectories"].get(name) for text in (self._now, self._then))
        return (stored, part) if now == then else None


def _is_unchanged(stored: Trajectory, paths: Sequence[Path]) -> bool:
    return stored.stamps is not None and np.array_equal(stored.stamps, stamps(paths))

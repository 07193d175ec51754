"""The checkpoints of trajectories, whose true values are computed after the points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lossgrid.run.rounds import Rounds
from lossgrid.store.amend import write_true_values
from lossgrid.store.log import RunLog
from lossgrid.store.results import Results


class Checkpoint(NamedTuple):
    """One of a trajectory, by its name and number there, and the file."""

    trajectory: str
    number: int
    path: Path


def checkpoints(
    results: Results, columns: Sequence[str], folder: Path, say: Callable[[str], None]
) -> Rounds[Checkpoint, list[float]]:
    """Those whose true values are pending or have failed.

    Args:
        results: the file; all ranks have closed it.
        columns: names of the values.
        folder: of the job, where the paths of checkpoints start.
        say: shows a line.
    """
    log = RunLog(results.path)

    def write(found: Mapping[Checkpoint, list[float] | None]) -> None:
        values = {
            (one.trajectory, one.number): dict(zip(columns, outcome, strict=True))
            if outcome
            else None
            for one, outcome in found.items()
        }
        write_true_values(results, values)

    def fail(one: Checkpoint, error: str) -> None:
        say(f"checkpoint {one.path} has no values: {error}")
        log.event("checkpoint failed", path=str(one.path), error=error)

    pieces = [
        Checkpoint(name, number, folder / trajectory.checkpoints[number])
        for name, trajectory in results.trajectories.items()
        for number in trajectory.unfinished.tolist()
    ]
    return Rounds(pieces, write, fail)

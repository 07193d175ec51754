"""Rank 0's part while the checkpoints of trajectories are evaluated, after the points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lossgrid.store.amend import write_true_values
from lossgrid.store.log import RunLog
from lossgrid.store.results import Results

Tried = tuple[list[list[float] | str | None], bool]
"""What a rank comes to: values of its checkpoint (or why there are none; None if it was dropped;
nothing if it had none), and whether a signal asked it to stop."""


class Following:
    """Hands out checkpoints, one for each rank, and stores their true values.

    Those that fail stay NaN, and are tried again by the next run.

    Args:
        results: the file; all ranks have closed it.
        columns: names of the values.
        folder: of the job, where the paths of checkpoints start.
        say: shows a line.
    """

    def __init__(
        self,
        results: Results,
        columns: Sequence[str],
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self._results = results
        self._columns = columns
        self._say = say
        self._log = RunLog(results.path)
        trajectories = results.trajectories.items()
        self._paths = {
            (name, index): folder / trajectory.checkpoints[index]
            for name, trajectory in trajectories
            for index in trajectory.pending.tolist()
        }
        self._waiting = list(self._paths)
        self._handed: list[tuple[str, int]] = []

    def next(self, ranks: int) -> list[Path]:
        """A checkpoint for each rank; fewer if no more are left."""
        self._handed, self._waiting = self._waiting[:ranks], self._waiting[ranks:]
        return [self._paths[place] for place in self._handed]

    def store(self, found: Sequence[Tried]) -> bool:
        """Store what the ranks have come to; what failed is told.

        Returns: whether a signal asked any of them to stop.

        Raises:
            UserError: it can't be stored.
        """
        values = {}
        tried = [outcome for outcomes, _ in found for outcome in outcomes]
        for place, outcome in zip(self._handed, tried, strict=True):
            if isinstance(outcome, str):
                path = str(self._paths[place])
                self._say(f"checkpoint {path} has no values: {outcome}")
                self._log.event("checkpoint failed", path=path, error=outcome)
            elif outcome is not None:
                values[place] = dict(zip(self._columns, outcome, strict=True))
        write_true_values(self._results, values)
        return any(asked for _, asked in found)

"""What becomes of points that fail, and of workers at which everything does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lossgrid.engine.desk import Desk, Task
from lossgrid.engine.messages import DONE, Result
from lossgrid.engine.pointset import Points

SUSPICIOUS = 16
"""After so many failures in a row a worker must show that it can compute anything."""


class Failures:
    """Tells broken points from broken workers.

    A point that fails is tried once more by another worker, if there is one; only if it fails there
    too, it is stored as failed. A worker at which much has failed in a row is given a point that
    has been computed elsewhere; if that fails as well, the worker is retired.

    Args:
        desks: of all workers.
        points: of the grid.
    """

    def __init__(self, desks: Mapping[int, Desk], points: int) -> None:
        self._desks = desks
        self._again: list[Result] = []  # that wait for another worker
        self._stored = np.zeros(points, bool)  # where failures are
        self._proven: Points | None = None  # a point that can be computed

    @property
    def waiting(self) -> bool:
        """Whether points are to be tried again."""
        return bool(self._again)

    def others(self, rank: int) -> bool:
        """Whether a worker besides this one can be given points."""
        return any(other != rank and desk.out is None for other, desk in self._desks.items())

    def note(self, done: Result) -> None:
        """Remember a point that can be computed."""
        if self._proven is None:
            self._proven = done.points[:1]

    def final(self, failed: Result, task: Task) -> Result:
        """Have points of a task tried by another worker; those are returned that can't be."""
        if task.copy is not None:
            rank, same = task.copy
            copied = self._desks[rank].chunks.get(same)
            if copied is not None:  # there they are tried already
                failed = failed.part(~np.isin(failed.points, copied.points))
        if task.failed_on is not None or not self.others(failed.rank):
            return self._given_up(failed)
        if failed.points.size:
            self._again.append(failed)
        return failed.part(slice(0))

    def replaced(self, late: Result) -> Result:
        """What of a result that nobody awaits any more replaces failures that are stored."""
        replacing = late.part(self._stored[late.points] & (late.status == DONE))
        self._stored[replacing.points] = False
        return replacing

    def second_try(self, rank: int) -> Task | None:
        """Points that have failed on another worker, for this one."""
        for index, failed in enumerate(self._again):
            if failed.rank != rank and self._is_judge(rank, failed.rank):
                del self._again[index]
                return Task(failed.points, failed_on=failed.rank)
        return None

    def doubt(self, rank: int) -> bool:
        """Whether a worker gets no points for now, as too many have failed there.

        It does all the same if no point is known that can be computed, or nobody else is left.
        """
        desk = self._desks[rank]
        if desk.failures < SUSPICIOUS:
            return False
        if desk.has_work:
            return True
        if not self.others(rank):
            return False
        # While nobody has computed anything, somebody who has not failed may be about to.
        return self._proven is not None or any(
            other.chunks and not other.failures for other in self._desks.values()
        )

    def trial(self, rank: int) -> Points | None:
        """A point by which a worker in doubt can show that it computes; none if it is not time."""
        desk = self._desks[rank]
        return None if desk.has_work else self._proven

    def judge(self, trial: Result) -> bool:
        """Whether a worker is to be retired, as it fails at what has been computed before."""
        desk = self._desks[trial.rank]
        desk.trial = 0
        if not trial.errors:
            desk.failures = 0
            return False
        return self.others(trial.rank)

    def untriable(self) -> list[Result]:
        """Failures that are final, as nobody is left to try the points again."""
        waiting, self._again = self._again, []
        self._again = [failed for failed in waiting if self.others(failed.rank)]
        return [self._given_up(failed) for failed in waiting if not self.others(failed.rank)]

    def _given_up(self, failed: Result) -> Result:
        self._stored[failed.points] = True
        return failed

    def _is_judge(self, rank: int, accused: int) -> bool:
        """Whether a worker is to find out if points are at fault, or the worker where they failed.

        One that fails as well leaves that to a third that does not.
        """
        return not self._desks[rank].failures or not any(
            other not in (rank, accused) and not desk.failures and desk.out is None
            for other, desk in self._desks.items()
        )

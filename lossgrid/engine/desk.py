"""What the coordinator knows of one worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from lossgrid.engine.pointset import Points


class Out(Enum):
    """Why a worker gets nothing more."""

    DEAD = "dead"
    SILENT = "silent"  # until it answers
    FAILING = "failing"


class Task(NamedTuple):
    """Points of a chunk that a worker was given and has not answered.

    `copy` is (rank, number) of the chunk by which another worker was given them as well;
    `failed_on` is a rank where they failed, if this is their second try.
    """

    points: Points
    copy: tuple[int, int] | None = None
    failed_on: int | None = None


@dataclass
class Desk:
    """A worker's chunks by number, in its order, and what is known of its condition.

    `since` is when it last answered or was given its first chunk (by the clock of the `Lease`),
    `failures` how many points have failed since its last success, `trial` the chunk that is to show
    whether it can compute at all (0 for none), `gone` that nothing more will come from it.
    """

    chunks: dict[int, Task] = field(default_factory=dict)
    since: float = 0.0
    has_answered: bool = False
    failures: int = 0
    trial: int = 0
    out: Out | None = None
    gone: bool = False

    def answered(self, number: int, points: Points) -> None:
        """Await these points no more; a chunk is ended when none of its points is left."""
        task = self.chunks.get(number)
        if task is None:
            return
        if task.copy is not None or points.size < task.points.size:
            left = task.points[~np.isin(task.points, points)]
            if left.size:
                self.chunks[number] = task._replace(points=left)
                return
        del self.chunks[number]

"""What the coordinator knows of each worker."""

from __future__ import annotations

from collections.abc import Iterable
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
    whether it can compute at all (0 for none).
    """

    chunks: dict[int, Task] = field(default_factory=dict)
    since: float = 0.0
    has_answered: bool = False
    failures: int = 0
    trial: int = 0
    out: Out | None = None

    @property
    def has_work(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self.chunks or self.trial)


class Desks(dict[int, Desk]):
    """The desks of all workers, by rank.

    Attributes:
        busy: ranks that have chunks in hand.
        ahead: those that have more than the one in work.
        present: those of which something may still come.
    """

    def __init__(self, ranks: Iterable[int]) -> None:
        super().__init__((rank, Desk()) for rank in ranks)
        self.busy: set[int] = set()
        self.ahead: set[int] = set()
        self.present = set(self)

    def task(self, place: tuple[int, int]) -> Task:
        """That of a chunk, by rank and number."""
        rank, number = place
        return self[rank].chunks[number]

    def put(self, rank: int, number: int, task: Task) -> None:
        """A worker has been given a chunk."""
        chunks = self[rank].chunks
        chunks[number] = task
        self.busy.add(rank)
        if len(chunks) > 1:
            self.ahead.add(rank)

    def take(self, rank: int, number: int) -> Task:
        """A worker is to leave a chunk alone, or has answered it."""
        chunks = self[rank].chunks
        task = chunks.pop(number)
        if len(chunks) < 2:
            self.ahead.discard(rank)
        if not chunks:
            self.busy.discard(rank)
        return task

    def answered(self, rank: int, number: int, points: Points) -> None:
        """Await these points no more; a chunk is ended when none of its points is left."""
        task = self[rank].chunks.get(number)
        if task is None:
            return
        if task.copy is not None or points.size < task.points.size:
            left = task.points[~np.isin(task.points, points)]
            if left.size:
                self[rank].chunks[number] = task._replace(points=left)
                return
        self.take(rank, number)

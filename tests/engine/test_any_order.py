"""The coordinator among workers that die, hang, come back, fail and are slow, in any order."""

from __future__ import annotations

from collections import deque
from random import Random
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lossgrid.engine.chunks import ChunkQueue
from lossgrid.engine.coordinator import Coordinator
from lossgrid.engine.messages import (
    DONE,
    FAILED,
    Bye,
    Chunk,
    Result,
    Stop,
    ToCoordinator,
    ToWorker,
    Withdraw,
)
from lossgrid.engine.pointset import PointSet
from lossgrid.engine.sizing import ChunkSizer
from tests.engine.clock import Clock
from tests.engine.harness import Listener, Memory

SHAPE = (5, 12)
POINTS = 5 * 12
ENDLESS = 20_000
"""So often the coordinator asks for news in no run that ends."""


class EndlessError(BaseException):
    """No Exception, which the coordinator would take for one of its own."""


class Modelled:
    """A worker that reads its mail late, if at all, and sends chunks in parts.

    Args:
        rank: of it.
        random: decides what it does.
        bad: points that fail here.
        seconds: that a point takes.
    """

    def __init__(self, rank: int, random: Random, bad: set[int], seconds: float) -> None:
        self.mail: deque[ToWorker] = deque()
        self.hangs_until = 0.0
        self.has_ended = False
        self._rank, self._random, self._bad, self._seconds = rank, random, bad, seconds
        self._chunks: deque[Chunk] = deque()
        self._begun: Chunk | None = None
        self._stopped = False

    def step(self) -> tuple[float, list[ToCoordinator]]:
        """Go on a little: for how many seconds, and with what to say."""
        while self.mail:
            self._read(self.mail.popleft())
        if self._stopped:
            self.has_ended = True
            return 0.0, [Bye()]
        if self._begun is None:
            if not self._chunks:
                return 0.0, []
            self._begun = self._chunks.popleft()
        points = self._begun.points
        size = self._random.choice([1, points.size, self._random.randint(1, points.size)])
        rest = points[size:]
        result = self._result(self._begun.number, points[:size])
        self._begun = self._begun._replace(points=rest) if rest.size else None
        return size * self._seconds, [result]

    def _read(self, message: ToWorker) -> None:
        if isinstance(message, Chunk):
            self._chunks.append(message)
        elif isinstance(message, Withdraw):
            kept = (chunk for chunk in self._chunks if chunk.number != message.number)
            self._chunks = deque(kept)
        elif isinstance(message, Stop):
            self._stopped = True

    def _result(self, number: int, points: np.ndarray) -> Result:
        failed = np.array([int(point) in self._bad for point in points])
        return Result(
            self._rank,
            number,
            points,
            np.where(failed, np.nan, points**2.0)[:, None],
            np.where(failed, FAILED, DONE).astype(np.uint8),
            np.full(points.size, self._seconds, np.float32),
            [(int(point), f"{point} is bad") for point in points[failed]],
        )


class AnyOrder:
    """As `Hub`: rank 0 is sound, all others may die or hang, for a while or for ever."""

    def __init__(self, workers: list[Modelled], random: Random, trouble: float) -> None:
        self.ranks = list(range(len(workers)))
        self.clock = Clock()
        self._workers, self._random, self._trouble = workers, random, trouble
        self._inbox: deque[tuple[int, ToCoordinator]] = deque()
        self._lost: set[int] = set()
        self._died: set[int] = set()
        self._asked = 0

    def send(self, rank: int, message: ToWorker) -> None:
        if rank not in self._lost:
            self._workers[rank].mail.append(message)

    def receive(self, seconds: float) -> tuple[int, ToCoordinator] | None:
        self._asked += 1
        if self._asked > ENDLESS:
            raise EndlessError
        until = self.clock.now + seconds
        while True:
            if self._inbox and self._random.random() < 0.7:
                return self._inbox.popleft()
            self._go_on(self._random.choice(self.ranks))
            if self.clock.now >= until:
                return self._inbox.popleft() if self._inbox else None
            self.clock.now += 0.05

    def _go_on(self, rank: int) -> None:
        worker = self._workers[rank]
        if rank in self._lost or worker.has_ended or worker.hangs_until > self.clock.now:
            return
        if rank and self._random.random() < self._trouble:
            if self._random.random() < 0.3:
                self._lost.add(rank)
                self._died.add(rank)
            else:
                silence = self._random.choice([5.0, 50.0, float("inf")])
                worker.hangs_until = self.clock.now + silence
            return
        taken, said = worker.step()
        self.clock.now += taken
        self._inbox.extend((rank, message) for message in said)

    def deaths(self) -> set[int]:
        died, self._died = self._died, set()
        return died

    def leave_behind(self, rank: int) -> None:
        self._lost.add(rank)

    def flush(self) -> None:
        pass


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(2, 6),
    chunk=st.sampled_from([None, 1, 3, 20]),
    bad=st.sets(st.integers(0, POINTS - 1), max_size=6),
    breaks=st.sampled_from([None, None, 1, 2]),
    trouble=st.sampled_from([0.02, 0.1, 0.2]),
)
def test_every_point_is_stored_once_and_the_run_ends(
    seed: int, workers: int, chunk: int | None, bad: set[int], breaks: int | None, trouble: float
) -> None:
    """One rank may fail at every point."""
    random = Random(seed)
    ranks = [
        Modelled(
            rank,
            random,
            set(range(POINTS)) if rank == breaks else bad,
            random.choice([0.001, 0.1, 3.0]),
        )
        for rank in range(workers)
    ]
    hub, memory = AnyOrder(ranks, random, trouble), Memory(POINTS)
    queue = ChunkQueue(SHAPE, PointSet([np.ones(POINTS, bool)]))
    sizer = ChunkSizer(workers, chunk)
    with patch("time.monotonic", hub.clock):
        job = Coordinator(hub, queue, sizer, memory, Listener())  # type: ignore[arg-type]
        ending = job.run()
    assert not ending.unfinished
    is_bad = np.isin(np.arange(POINTS), list(bad))
    assert ((memory.status == FAILED) == is_bad).all()
    assert (memory.stored == 1).all()
    assert set(memory.errors) == bad

"""Any number of ranks, as a discrete-event model around the real coordinator.

What rank 0 does is done: its code runs, results are stored in a real file, and the clock goes on by
the processor time that this takes. Receiving and sending a message only moves the clock, by what
they have been measured to cost; ranks are a table of when each will have computed what.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from lossgrid.engine.backoff import LONGEST
from lossgrid.engine.chunks import ChunkQueue
from lossgrid.engine.coordinator import Coordinator
from lossgrid.engine.links import Hub
from lossgrid.engine.messages import DONE, Bye, Chunk, Result, ToCoordinator, ToWorker, Withdraw
from lossgrid.engine.pointset import PointSet
from lossgrid.engine.sizing import ChunkSizer
from lossgrid.engine.worker import is_part
from lossgrid.run.progress import ProgressView
from lossgrid.run.witness import Witness
from lossgrid.store.create import Contents, create
from lossgrid.store.log import RunLog
from lossgrid.store.sink import CoordinatorSink
from lossgrid.store.writer import PointWriter

COLUMNS = ("train_loss", "train_accuracy")


class Costs(NamedTuple):
    """Seconds of rank 0 a message, and until a message arrives."""

    receive: float
    send: float
    arrive: float


class Clock:
    """Rank 0's: goes on by its own processor time, but not while ranks are modelled."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._at, self._began = 0.0, time.thread_time()

    def __call__(self) -> float:
        return self._at + time.thread_time() - self._began

    @contextmanager
    def standing(self) -> Iterator[None]:
        self._at = self()
        yield
        self._began = time.thread_time()

    @property
    def at(self) -> float:
        return self._at

    def advance(self, seconds: float) -> None:
        self._at += seconds


@dataclass
class Rank:
    """A worker: what it has been given, and the parts of the chunk in work that are not sent."""

    ahead: deque[Chunk] = field(default_factory=deque)
    parts: deque[tuple[float, Result]] = field(default_factory=deque)
    stopped: bool = False


class ModelHub:
    """As `Hub`, with modelled ranks.

    Args:
        seconds: that each point takes, float64.
        slowness: of each rank, by which that is multiplied; rank 0 only coordinates.
        costs: of messages.

    Attributes:
        computed: points that ranks have computed, again ones included.
        waited: seconds in which rank 0 had nothing to do.
    """

    def __init__(
        self, seconds: NDArray[np.float64], slowness: NDArray[np.float64], costs: Costs
    ) -> None:
        self.ranks = list(range(1, slowness.size + 1))
        self.clock = Clock()
        self.computed = 0
        self.waited = 0.0
        self._seconds = seconds
        self._slowness = slowness
        self._costs = costs
        self._workers = {rank: Rank() for rank in self.ranks}
        self._due: list[tuple[float, int]] = []  # when a rank has computed its next part
        self._inbox: deque[tuple[float, int, ToCoordinator]] = deque()

    def send(self, rank: int, message: ToWorker) -> None:
        """Rank 0 sends; a rank that waits begins when it notices."""
        with self.clock.standing():
            self.clock.advance(self._costs.send)
            there, worker = self.clock.at + self._costs.arrive, self._workers[rank]
            if isinstance(message, Chunk):
                worker.ahead.append(message)
                if not worker.parts:
                    self._begin(rank, there + LONGEST / 2)
            elif isinstance(message, Withdraw):
                kept = (chunk for chunk in worker.ahead if chunk.number != message.number)
                worker.ahead = deque(kept)
            else:
                worker.stopped = True
                self._inbox.append((there + self._costs.arrive, rank, Bye()))

    def receive(self, seconds: float) -> tuple[int, ToCoordinator] | None:
        """The next message; waiting for it, rank 0 looks at intervals of up to 5 ms."""
        with self.clock.standing():
            began = self.clock.at
            self._compute_until(began)
            if not self._inbox or self._inbox[0][0] > began:
                if self._due:
                    self._compute_until(min(self._due[0][0], began + seconds))
                arrival = self._inbox[0][0] if self._inbox else began + seconds
                waited = min(max(arrival - began, 0.0), seconds)
                self.clock.advance(waited + min(waited, LONGEST) / 2)
                self.waited += self.clock.at - began
                if not self._inbox or self._inbox[0][0] > self.clock.at:
                    return None
            _, rank, message = self._inbox.popleft()
            self.clock.advance(self._costs.receive)
            return rank, message

    def deaths(self) -> set[int]:
        """Nobody dies here."""
        return set()

    def leave_behind(self, rank: int) -> None:
        """Nor hangs."""
        raise RuntimeError(f"rank {rank} is taken for one that hangs")

    def flush(self) -> None:
        """All has arrived."""

    def _compute_until(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            when, rank = heapq.heappop(self._due)
            worker = self._workers[rank]
            if worker.stopped:
                continue
            _, result = worker.parts.popleft()
            self.computed += result.points.size
            self._inbox.append((when + self._costs.arrive, rank, result))
            if worker.parts:
                heapq.heappush(self._due, (worker.parts[0][0], rank))
            elif worker.ahead:
                self._begin(rank, when)

    def _begin(self, rank: int, when: float) -> None:
        worker = self._workers[rank]
        chunk = worker.ahead.popleft()
        taken = self._seconds[chunk.points] * self._slowness[rank - 1]
        ends = when + np.cumsum(taken)
        size = taken.size
        whole = Result(
            rank,
            chunk.number,
            chunk.points,
            np.zeros((size, len(COLUMNS))),
            np.full(size, DONE, np.uint8),
            taken.astype(np.float32),
            [],
        )
        begin = 0
        for end in [*part_ends(ends - when, chunk), size]:
            part = whole if end - begin == size else whole.part(slice(begin, end))
            worker.parts.append((float(ends[end - 1]), part))
            begin = end
        heapq.heappush(self._due, (worker.parts[0][0], rank))


def part_ends(passed: NDArray[np.float64], chunk: Chunk) -> list[int]:
    """After which points a worker sends what it has, by when each is computed, as `Worker` does."""
    ends: list[int] = []
    sent, began = 0, 0.0
    for place in range(1, passed.size if passed[-1] > chunk.seconds else 0):
        taken = float(passed[place - 1]) - began
        if is_part(chunk, taken, (passed.size - place) / (place - sent)):
            ends.append(place)
            sent, began = place, float(passed[place - 1])
    return ends


class Outcome(NamedTuple):
    """Of a run.

    Attributes:
        wall: seconds from its begin to the last store.
        efficiency: wall time of ranks that never wait, over the true one.
        busy: share of it in which rank 0 was at work.
        answers: that it took in.
        chunk: mean points in an answer.
        again: points that have been computed more than once.
    """

    wall: float
    efficiency: float
    busy: float
    answers: int
    chunk: float
    again: int


def run(
    side: int, seconds: NDArray[np.float64], slowness: NDArray[np.float64], costs: Costs
) -> Outcome:
    """Compute side x side points on modelled ranks; the other arguments are `ModelHub`'s."""
    points = side * side
    hub = ModelHub(seconds, slowness, costs)
    with tempfile.TemporaryDirectory() as folder, Path("/dev/null").open("w") as nowhere:
        path = Path(folder) / "out.vtkhdf"
        axis = np.arange(side, dtype=np.float64)
        create(path, Contents(axis, axis, COLUMNS, {}))
        view = ProgressView(points, 0, Console(file=nowhere))
        hosts = ["node"] * (len(hub.ranks) + 1)
        witness = Last(Witness(view, RunLog(path), hosts), hub.clock)
        queue = ChunkQueue((side, side), PointSet([np.ones(points, bool)]))
        with PointWriter(path, COLUMNS, sync_seconds=np.inf) as writer:
            job = Coordinator(
                cast(Hub, hub),
                queue,
                ChunkSizer(slowness.size),
                CoordinatorSink(writer, {}),
                witness,
            )
            with patch("time.monotonic", hub.clock):
                hub.clock.restart()
                job.run()
            assert (writer.stored()[1] == DONE).all()
    ideal = float(seconds.sum() / (1 / slowness).sum())
    return Outcome(
        witness.last,
        ideal / witness.last,
        1 - hub.waited / hub.clock.at,
        witness.answers,
        hub.computed / witness.answers,
        hub.computed - points,
    )


class Last:
    """Notes when the last result was stored."""

    def __init__(self, witness: Witness, clock: Clock) -> None:
        self._witness, self._clock = witness, clock
        self.tick, self.out, self.back = witness.tick, witness.out, witness.back
        self.last, self.answers = 0.0, 0

    def stored(self, results: list[Result]) -> None:
        """As an observer is told."""
        self._witness.stored(results)
        self.answers += len(results)
        self.last = self._clock()

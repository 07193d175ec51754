"""The real coordinator and workers in one process, each worker a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.chunks import ChunkQueue
from lossgrid.engine.coordinator import Coordinator, Ending
from lossgrid.engine.desk import Out
from lossgrid.engine.links import QueueLink
from lossgrid.engine.messages import Result, ToCoordinator, ToWorker
from lossgrid.engine.pointset import PointSet
from lossgrid.engine.sizing import ChunkSizer
from lossgrid.engine.worker import Sink, Worker
from lossgrid.errors import DroppedError


class ThreadHub:
    """As `Hub`, with every rank behind a queue."""

    def __init__(self, count: int) -> None:
        self.links = {rank: QueueLink() for rank in range(count)}
        self.ranks = list(self.links)
        self.sent: list[tuple[int, ToWorker]] = []
        self.died: set[int] = set()  # tests add to it
        self.told: set[int] = set()
        self.left_behind: set[int] = set()

    def send(self, rank: int, message: ToWorker) -> None:
        self.sent.append((rank, message))
        self.links[rank].to_worker.put(message)

    def receive(self, seconds: float) -> tuple[int, ToCoordinator] | None:
        deadline = time.monotonic() + seconds
        while True:
            for rank, link in self.links.items():
                if not link.to_coordinator.empty():
                    return rank, link.to_coordinator.get()
            if time.monotonic() >= deadline:
                return None
            time.sleep(1e-4)

    def deaths(self) -> set[int]:
        dead = self.died - self.told
        self.told |= dead
        return dead

    def leave_behind(self, rank: int) -> None:
        self.left_behind.add(rank)

    def flush(self) -> None:
        pass


class Memory:
    """A sink that remembers, and counts how often each point was stored."""

    def __init__(self, points: int) -> None:
        self.values = np.full(points, np.nan)
        self.status = np.zeros(points, np.uint8)
        self.stored = np.zeros(points, int)
        self.rank = np.full(points, -1)
        self.errors: dict[int, str] = {}

    def write(self, results: list[Result]) -> None:
        for result in results:
            assert result.values is not None
            self.values[result.points] = result.values[:, 0]
            self.status[result.points] = result.status
            self.rank[result.points] = result.rank
            np.add.at(self.stored, result.points, 1)
            self.errors |= dict(result.errors)


class Listener:
    """An observer that remembers who was out when."""

    def __init__(self) -> None:
        self.events: list[tuple[int, Out | None, str]] = []

    @property
    def retirements(self) -> list[tuple[int, str]]:
        return [(rank, said) for rank, why, said in self.events if why is Out.FAILING]

    def stored(self, results: list[Result]) -> None:
        pass

    def out(self, rank: int, why: Out, message: str) -> None:
        self.events.append((rank, why, message))

    def back(self, rank: int) -> None:
        self.events.append((rank, None, ""))

    def tick(self) -> None:
        pass


class Squares:
    """point -> point^2, after a nap of `seconds(point)`, in which it hears of a stop or not."""

    columns = ("value",)

    def __init__(
        self,
        points_per_pass: int = 1,
        seconds: Callable[[int], float] | None = None,
        hears: bool = False,
    ) -> None:
        self.points_per_pass = points_per_pass
        self._seconds = seconds
        self._hears = hears
        self.computed: list[int] = []

    def __call__(
        self, points: NDArray[np.int64], unwanted: Callable[[], bool]
    ) -> NDArray[np.float64]:
        self._unwanted = unwanted
        return self.compute(points)

    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        assert 0 < points.size <= self.points_per_pass
        if self._seconds is not None:
            self._nap(sum(self._seconds(int(point)) for point in points))
        self.computed += points.tolist()
        return points[:, None].astype(float) ** 2

    def _nap(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._hears and time.monotonic() + 0.01 < until:
            time.sleep(0.01)
            if self._unwanted():
                raise DroppedError
        time.sleep(max(0.0, until - time.monotonic()))


def run_job(evaluators: list[Squares], shape: tuple[int, int], sink: Sink, **others: Any) -> bool:
    """As `ending_of`; True if the job was left unfinished."""
    return ending_of(evaluators, shape, sink, **others).unfinished


def ending_of(
    evaluators: list[Squares],
    shape: tuple[int, int],
    sink: Sink,
    *,
    chunk: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
    worker_stopping: Callable[[], bool] = lambda: False,
    worker_sinks: list[Sink] | None = None,
    hub: ThreadHub | None = None,
    observer: Listener | None = None,
    no_smaller: str | None = None,
) -> Ending:
    """Run to the end. Every worker has ended afterwards."""
    hub = hub or ThreadHub(len(evaluators))
    observer = observer or Listener()
    sizer = ChunkSizer(len(evaluators), chunk, evaluators[0].points_per_pass)
    queue = ChunkQueue(shape, PointSet([np.ones(shape[0] * shape[1], bool)]))
    threads = [
        threading.Thread(
            target=Worker(
                rank,
                hub.links[rank],
                evaluator,
                worker_stopping,
                worker_sinks[rank] if worker_sinks else None,
            ).run,
            daemon=True,
        )
        for rank, evaluator in enumerate(evaluators)
    ]
    for thread in threads:
        thread.start()
    try:
        return Coordinator(hub, queue, sizer, sink, observer, stopping, no_smaller).run()  # type: ignore[arg-type]
    finally:
        for thread in threads:
            thread.join(timeout=20)
        assert not any(thread.is_alive() for thread in threads)

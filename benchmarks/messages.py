"""What messages cost rank 0, run under mpirun by benchmarks/scale.py.

Usage: messages.py. Rank 0 prints a line of JSON: medians over rounds of the processor seconds that
it takes to receive a result and to send a chunk, by the points in it, and of the seconds in which a
message arrives.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from lossgrid.engine import world as worlds
from lossgrid.engine.links import Hub, MpiLink
from lossgrid.engine.messages import DONE, Chunk, Result

POINTS = (1, 20, 200)
ROUNDS = 7
MESSAGES = 256
"""In a round, from or to all ranks together."""


def result(rank: int, points: int) -> Result:
    """As a worker sends it, with two columns."""
    status = np.full(points, DONE, np.uint8)
    values, seconds = np.zeros((points, 2)), np.zeros(points, np.float32)
    return Result(rank, 1, np.arange(points), values, status, seconds, [])


class Measurement:
    """One rank's part of each round; rank 0's returns what it has measured."""

    def __init__(self, world: worlds.World) -> None:
        assert world.comm is not None
        self._comm, self._rank, self._size = world.comm, world.rank, world.size
        self._each = max(1, MESSAGES // (world.size - 1))
        self._hub = Hub(world, dict.fromkeys(range(1, world.size), ()), None)
        self._link = MpiLink(world)

    def receive(self, points: int) -> float:
        """Processor seconds a result, when all are on their way."""
        self._comm.Barrier()
        if self._rank:
            for _ in range(self._each):
                self._link.send(result(self._rank, points))
            return 0.0
        time.sleep(0.3)
        taken, count = 0.0, self._each * (self._size - 1)
        left = count
        while left:
            began = time.thread_time()
            if self._hub.receive(0.0) is not None:  # else the sender has to go on first
                taken += time.thread_time() - began
                left -= 1
        return taken / count

    def send(self, points: int) -> float:
        """Processor seconds a chunk; ranks in turn."""
        self._comm.Barrier()
        if self._rank:
            for _ in range(self._each):
                self._link.receive(10.0)
            return 0.0
        began, count = time.thread_time(), self._each * (self._size - 1)
        for place in range(count):
            self._hub.send(1 + place % (self._size - 1), Chunk(place, np.arange(points), 0.5))
        taken = time.thread_time() - began
        self._hub.flush()
        return taken / count

    def arrive(self) -> float:
        """Seconds in which a small message reaches another rank that waits for nothing else."""
        self._comm.Barrier()
        message, began = np.zeros(64), time.perf_counter()
        if self._rank < 2:
            for turn in range(200):
                if turn % 2 == self._rank:
                    self._comm.Send(message, dest=1 - self._rank)
                else:
                    self._comm.Recv(message, source=1 - self._rank)
        return (time.perf_counter() - began) / 200


def medians(measure: Callable[[int], float]) -> dict[int, float]:
    return {size: statistics.median(measure(size) for _ in range(ROUNDS)) for size in POINTS}


def main() -> None:
    world = worlds.start()
    measurement = Measurement(world)
    found = {
        "receive": medians(measurement.receive),
        "send": medians(measurement.send),
        "arrive": statistics.median(measurement.arrive() for _ in range(ROUNDS)),
    }
    if world.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

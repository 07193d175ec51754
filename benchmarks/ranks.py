"""The engine with a made-up evaluator, run under mpirun by benchmarks/engine.py.

Usage: ranks.py FILE null CHUNK SIDE | sleep CHUNK SIDE SLOW_RANK | even SECONDS SIDE | idle SECONDS
| size SIDE
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine import world as worlds
from lossgrid.engine.desk import Out
from lossgrid.engine.messages import Result
from lossgrid.engine.pointset import PointSet
from lossgrid.engine.run import coordinate, work
from lossgrid.store.create import Contents, create
from lossgrid.store.results import read_results
from lossgrid.store.sink import CoordinatorSink
from lossgrid.store.writer import PointWriter

COLUMN = "train_loss"


class Made:
    """Values that cost nothing, or a nap of a length that depends on the point alone."""

    columns = (COLUMN,)

    points_per_pass = 1

    def __init__(self, factor: float, fixed: float | None = None) -> None:
        self._factor = factor
        self._fixed = fixed

    def __call__(
        self, points: NDArray[np.int64], unwanted: Callable[[], bool]
    ) -> NDArray[np.float64]:
        if self._fixed is not None:
            time.sleep(self._fixed)
        elif self._factor:
            time.sleep(self._factor * float(NAPS[points].sum()))
        return points[:, None].astype(np.float64)


NAPS = np.random.default_rng(0).uniform(0.02, 0.06, 51 * 51)
"""Seconds that each point takes: 20 to 60 ms, drawn at random."""


class Watch:
    """Notes when the last result was stored."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    def stored(self, results: list[Result]) -> None:
        self.last = time.perf_counter()
        self.first = self.first or self.last

    def out(self, rank: int, why: Out, message: str) -> None:
        pass

    def back(self, rank: int) -> None:
        pass

    def tick(self) -> None:
        pass


def measure(path: Path, evaluator: Made, chunk: int | None, side: int) -> dict[str, float] | None:
    """Run the engine over side x side points; rank 0 returns what it measured."""
    world = worlds.start()
    if world.rank != 0:
        work(world, evaluator, None, lambda: False)
        return None
    axis = np.arange(side, dtype=np.float64)
    create(path, Contents(axis, axis, (COLUMN,), {}))
    watch = Watch()
    with PointWriter(path, (COLUMN,)) as writer:
        pending = PointSet([np.ones(side * side, bool)])
        sink = CoordinatorSink(writer, {})
        busy = time.process_time()
        began = time.perf_counter()
        shape = (side, side)
        coordinate(world, evaluator, True, shape, pending, chunk, sink, watch, lambda: False)
        wall = watch.last - began
        busy = time.process_time() - busy
    return {"points": side * side, "wall": wall, "busy": busy, "ranks": world.size}


def start_huge(path: Path, side: int) -> dict[str, float]:
    """From an existing file of side x side points to its first stored result, on rank 0 alone."""
    axis = np.arange(side, dtype=np.float64)
    texts = {"plan": "{}", "fingerprint": "{}"}
    create(path, Contents(axis, axis, (COLUMN,), {}, attributes=texts))
    began = time.perf_counter()
    watch = Watch()
    pending = read_results(path).unfinished()
    with PointWriter(path, (COLUMN,)) as writer:
        world, sink, shape = worlds.alone(), CoordinatorSink(writer, {}), (side, side)
        coordinate(
            world, Made(0.0), True, shape, pending, None, sink, watch, lambda: watch.last > 0
        )
        wall = watch.first - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall": wall, "peak_mb": peak, "points": side * side}


def main() -> None:
    path, kind, *numbers = Path(sys.argv[1]), sys.argv[2], *sys.argv[3:]
    if kind == "null":
        chunk, side = int(numbers[0]), int(numbers[1])
        found = measure(path, Made(0.0), chunk, side)
    elif kind == "sleep":
        chunk, side, slow = numbers[0], int(numbers[1]), int(numbers[2])
        factor = 4.0 if worlds.start().rank == slow else 1.0
        found = measure(path, Made(factor), None if chunk == "auto" else int(chunk), side)
    elif kind == "even":
        found = measure(path, Made(1.0, fixed=float(numbers[0])), None, int(numbers[1]))
    elif kind == "idle":
        found = measure(path, Made(1.0, fixed=float(numbers[0])), 1, 4)
    else:
        found = start_huge(path, int(numbers[0]))
    if found is not None:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

"""The engine with an evaluator that sleeps, run under mpirun by benchmarks/soak.py.

Usage: survivors.py FOLDER SIDE CHUNK LEASE_SECONDS. Each rank appends what it computes to
FOLDER/<its process>.points: point, begin and end (seconds since 1970).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from lossgrid.engine import lease
from lossgrid.engine import world as worlds
from lossgrid.engine.run import coordinate, work
from lossgrid.exits import COMPLETE, UNFINISHED
from lossgrid.run.progress import ProgressView
from lossgrid.run.witness import Witness
from lossgrid.store.create import Contents, create
from lossgrid.store.log import RunLog
from lossgrid.store.results import read_results
from lossgrid.store.sink import CoordinatorSink
from lossgrid.store.writer import PointWriter

COLUMN = "train_loss"
RECORD = np.dtype([("point", np.int64), ("begin", np.float64), ("end", np.float64)])


class Sleeper:
    """A value and a nap of 20 to 60 ms that depend on the point alone, and a record of both."""

    columns = (COLUMN,)
    points_per_pass = 1

    def __init__(self, folder: Path, points: int) -> None:
        draws = np.random.default_rng(0)
        self._naps = draws.uniform(0.02, 0.06, points)
        self._values = draws.standard_normal(points)
        self._record = (folder / f"{os.getpid()}.points").open("ab", buffering=0)

    def __call__(
        self, points: NDArray[np.int64], unwanted: Callable[[], bool]
    ) -> NDArray[np.float64]:
        begin = time.time()
        time.sleep(self._naps[points[0]])
        self._record.write(np.array([(points[0], begin, time.time())], RECORD).tobytes())
        return self._values[points, None]


def main() -> int:
    folder, side, chunk = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    lease.LEAST_SECONDS = float(sys.argv[4])
    world = worlds.start()
    evaluator = Sleeper(folder, side * side)
    unfinished = False
    if world.rank != 0:
        work(world, evaluator, None, lambda: False)
    else:
        out, axis = folder / "soak.vtkhdf", np.arange(side, dtype=np.float64)
        texts = {"plan": "{}", "fingerprint": "{}"}
        if not out.exists():
            create(out, Contents(axis, axis, (COLUMN,), {}, attributes=texts))
        (folder / "rank0").write_text(str(os.getpid()))
        pending = read_results(out).unfinished()
        view = ProgressView(side * side, 0, Console(stderr=True))
        witness = Witness(view, RunLog(out), world.hosts)
        with PointWriter(out, (COLUMN,)) as writer:
            sink, shape = CoordinatorSink(writer, {}), (side, side)
            ending = coordinate(
                world, evaluator, True, shape, pending, chunk, sink, witness, lambda: False
            )
            unfinished = ending.unfinished
    status = UNFINISHED if unfinished else COMPLETE
    world.leave(status)
    return status


if __name__ == "__main__":
    sys.exit(main())

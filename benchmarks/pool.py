"""The yardstick: bare tasks through mpi4py's own pool, run under mpirun by benchmarks/engine.py.

Usage: pool.py CHUNK TASKS
"""

from __future__ import annotations

import json
import sys
import time

from mpi4py import MPI
from mpi4py.futures import MPICommExecutor


def task(number: int) -> float:
    return float(number)


def main() -> None:
    chunk, tasks = int(sys.argv[1]), int(sys.argv[2])
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as pool:
        if pool is not None:
            began = time.perf_counter()
            list(pool.map(task, range(tasks), chunksize=chunk, unordered=True))
            print(json.dumps({"points": tasks, "wall": time.perf_counter() - began}))


if __name__ == "__main__":
    main()

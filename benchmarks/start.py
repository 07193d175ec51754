"""Measure how soon a run begins, and what it takes of memory: `make bench-start`.

Seconds: the command on one rank, until the first point begins (theta itself) and until that has
been evaluated on all data; medians of REPEATS runs, after one that fills the file cache. Memory:
two ranks with a lane each, until the worker has stored a point; above what two ranks have that
import torch and MPI, and no more. The ResNets are over the 5,000 real training images of
LOSSGRID_SHARED. `start.py JOB...` for a part. Prints a Markdown table.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.mpi import MPICH_WHEEL, mpirun, started  # noqa: E402

SHARED = Path(os.environ.get("LOSSGRID_SHARED", ROOT.parent / "shared")) / "data"
REPEATS = int(os.environ.get("REPEATS", "5"))

MOMENTS = {"directions: ": "first point begins", "at theta: ": "theta is evaluated"}
"""How the lines begin that a run says at these."""

KINDS = {"VmHWM": "all", "RssAnon": "private"}
"""Of memory, by their names in /proc: at most so far, and what no other process can share now."""

BARE = f"""
import torch
from mpi4py import MPI
status = open("/proc/self/status").read()
lines = dict(line.split(":", 1) for line in status.splitlines())
if MPI.COMM_WORLD.rank == 0:
    print(*(lines[kind].split()[0] for kind in {list(KINDS)}))
MPI.COMM_WORLD.Barrier()
"""


def resnet(name: str, checkpoint: str) -> list[str]:
    """Settings of a job over real images."""
    norm = "mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"
    npz = f"path: {SHARED / 'cifar10_slice.npz'}, images: train_images, labels: train_labels"
    return [
        f"model={{factory: 'lossgrid.models:{name}', checkpoint: {SHARED / checkpoint}}}",
        f"data={{train: {{factory: 'lossgrid.data:npz', kwargs: {{{npz}, {norm}}}}}}}",
    ]


def dense() -> list[str]:
    here = ROOT / "benchmarks/dense.py"
    return [f"model={{factory: '{here}:heavy'}}", f"data={{train: {{factory: '{here}:digits'}}}}"]


JOBS: dict[str, list[str]] = {
    "digits": [],
    "ResNet-20": resnet("resnet20", "resnet20-12fca82f.th"),
    "ResNet-56": resnet("resnet56", "resnet56-4bfd9763.th"),
    "perceptron": dense(),  # 198 MB of weights
}


def command(output: Path, settings: list[str]) -> list[str]:
    sets = [word for one in (f"output={output}", *settings) for word in ("--set", one)]
    return ["-m", "lossgrid", "run", str(ROOT / "jobs/digits.yaml"), "--overwrite", *sets]


def moments(args: list[str]) -> list[float]:
    """Seconds of one run until each of `MOMENTS`."""
    began = time.perf_counter()
    found: list[float] = []
    with subprocess.Popen(
        [sys.executable, *args], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(tuple(MOMENTS)):
                found.append(time.perf_counter() - began)
            if len(found) == len(MOMENTS):
                break
        process.kill()
    return found


def megabytes(process: int) -> list[float]:
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    lines = dict(line.split(":", 1) for line in status)
    return [int(lines[kind].split()[0]) / 1024 for kind in KINDS]


def memory(output: Path, args: list[str]) -> list[list[float]]:
    """Rank 0 and the worker: at most so much of each of `KINDS`."""
    most = [[0.0] * len(KINDS) for _ in range(2)]
    with started(MPICH_WHEEL, 2, args) as launcher:
        while not stored_by_worker(output):
            if launcher.poll() is not None:
                raise SystemExit(f"{args}: {launcher.communicate()[1]}")
            for rank, process in ranks_of(args[-1]):
                with suppress(OSError, KeyError):
                    pairs = zip(most[rank], megabytes(process), strict=True)
                    most[rank] = [max(pair) for pair in pairs]
            time.sleep(0.02)
    return most


def ranks_of(mark: str) -> Iterator[tuple[int, int]]:
    """(rank, process) of those with `mark` among their arguments."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_text().split("\0")
            if "python" in words[0] and mark in words:
                variables = (folder / "environ").read_text().split("\0")
                rank = next(v for v in variables if v.startswith("PMI_RANK="))
                yield int(rank.partition("=")[2]), int(folder.name)


def stored_by_worker(output: Path) -> bool:
    if not output.exists():
        return False
    with h5py.File(output, locking=False) as file:
        ranks, status = file["lossgrid/points/rank"][()], file["lossgrid/status"][()]
        return bool(((ranks == 1) & (status == 1)).any())


def main() -> None:
    done = mpirun(MPICH_WHEEL, 2, ["-c", BARE], timeout=60)
    bare = [float(word) / 1024 for word in done.stdout.splitlines()[0].split()]
    print(f"import of torch and MPI: {bare[0]:.0f} MB, {bare[1]:.0f} of them private\n")
    heads = [f"s until {moment} (least-most)" for moment in MOMENTS.values()]
    heads += [f"{who}, MB ({kind})" for who in ("rank 0", "worker") for kind in KINDS.values()]
    print(f"| job | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}")
    for name in sys.argv[1:] or JOBS:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "start.vtkhdf"
            args = command(output, JOBS[name])
            seconds = [moments(args) for _ in range(REPEATS + 1)][1:]
            output.unlink(missing_ok=True)
            found = memory(output, args)
        cells = [
            f"{statistics.median(one):.2f} ({min(one):.2f}-{max(one):.2f})"
            for one in zip(*seconds, strict=True)
        ]
        cells += [f"{mb - less:.0f}" for rank in found for mb, less in zip(rank, bare, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

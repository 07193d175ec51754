"""Measure what the engine promises: `make bench-engine`, or `engine.py SECTION...` for a part.

Sections: start, size, idle, dispatch, balance, right, bits, resume, crash. Needs four MPI
environments; `start`, `right`, `bits` and `resume` also need the real images and checkpoints
(LOSSGRID_SHARED). Writes Markdown tables.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.ranks import NAPS  # noqa: E402
from lossgrid.store.log import RunLog  # noqa: E402
from lossgrid.store.results import read_results  # noqa: E402
from tests.mpi import (  # noqa: E402
    FLAVOURS,
    MPICH_PARALLEL,
    MPICH_WHEEL,
    OPENMPI_PARALLEL,
    Flavour,
    mpirun,
    started,
)

SHARED = Path(os.environ.get("LOSSGRID_SHARED", ROOT.parent / "shared")) / "data"
REPEATS = 5
Row = dict[str, object]


def run_ranks(flavour: Flavour, ranks: int, module: str, *args: object) -> dict[str, float]:
    done = mpirun(flavour, ranks, ["-m", f"benchmarks.{module}", *map(str, args)], timeout=300)
    if done.returncode:
        raise SystemExit(f"benchmarks.{module} {args}: status {done.returncode}\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def job_args(output: Path, *settings: str) -> list[str]:
    """`-m lossgrid run` of ResNet-20 on 200 real images over 11 x 9 points, with settings."""
    norm = "mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"
    npz = f"path: {SHARED / 'cifar10_slice.npz'}, images: test_images, labels: test_labels"
    train = f"{{factory: 'lossgrid.data:npz', kwargs: {{{npz}, {norm}}}, samples: 200}}"
    settings = (
        f"output={output}",
        f"model.checkpoint={SHARED / 'resnet20-12fca82f.th'}",
        "model.expect={}",
        f"data={{train: {train}}}",
        *settings,
    )
    return lossgrid_run("resnet20-cifar10", "grid.alpha.points=11", "grid.beta.points=9", *settings)


def dense_args(output: Path, *settings: str) -> list[str]:
    """`-m lossgrid run` of a dense network at an odd batch over 21 x 11 points, with settings."""
    here = ROOT / "benchmarks/dense.py"
    return lossgrid_run(
        "digits",
        f"output={output}",
        f"model={{factory: '{here}:model'}}",
        f"data={{train: {{factory: '{here}:data'}}}}",
        "loss=mse",
        "metrics=[loss]",
        "evaluation.batch_size=7",
        "grid.alpha.points=21",
        "grid.beta.points=11",
        *settings,
    )


def lossgrid_run(job: str, *settings: str) -> list[str]:
    sets = [word for setting in settings for word in ("--set", setting)]
    return ["-m", "lossgrid", "run", str(ROOT / f"jobs/{job}.yaml"), *sets]


def values(path: Path) -> np.ndarray:
    results = read_results(path)
    return np.stack([results.values[column] for column in results.values])


def bits(folder: Path) -> Iterator[Row]:
    """Equal bits for any ranks, writer, chunk and coordinator."""
    for network, args in (("dense", dense_args), ("ResNet-20", job_args)):
        reference = None
        ways = itertools.product(
            (MPICH_WHEEL, MPICH_PARALLEL, OPENMPI_PARALLEL),
            (1, 2, 3, 16),
            (1, 8),
            ("shared", "dedicated"),
        )
        for flavour, ranks, chunk, coordinator in ways:
            if ranks == 1 and coordinator == "dedicated":
                continue
            out = folder / f"{network}-{flavour.name}-{ranks}-{chunk}-{coordinator}.vtkhdf"
            settings = (f"runtime.chunk={chunk}", f"runtime.coordinator={coordinator}")
            began = time.perf_counter()
            done = mpirun(flavour, ranks, args(out, *settings), timeout=600)
            if done.returncode:
                raise SystemExit(f"{out.name}: {done.stderr}")
            found = values(out)
            reference = found if reference is None else reference
            yield {
                "network": network,
                "writer": "parallel" if flavour.parallel and ranks > 1 else "coordinator",
                "environment": flavour.name,
                "ranks": ranks,
                "chunk": chunk,
                "coordinator": coordinator,
                "equal": found.tobytes() == reference.tobytes(),
                "seconds": round(time.perf_counter() - began, 1),
            }


def resume(folder: Path) -> Iterator[Row]:
    """ResNet-20 killed half-way and resumed, against an undisturbed run."""
    whole = folder / "whole.vtkhdf"
    if mpirun(MPICH_WHEEL, 2, job_args(whole), timeout=600).returncode:
        raise SystemExit("the undisturbed run failed")
    for flavour in FLAVOURS:
        out = folder / f"{flavour.name}.vtkhdf"
        args = [*job_args(out, "runtime.chunk=1"), "--set", f"name={flavour.name}"]
        kill_one(flavour, 3, args, folder / "unused", computing(whole) / 2, out, random.Random(0))
        stored = read_results(out).count(1)
        done = mpirun(flavour, 3, args, timeout=600)
        if done.returncode:
            raise SystemExit(f"{flavour.name}: {done.stderr}")
        equal = values(out).tobytes() == values(whole).tobytes()
        yield {"environment": flavour.name, "stored at the kill": stored, "equal": equal}


def right(folder: Path) -> Iterator[Row]:
    """Against a naive float64 loop that shares no code with lossgrid."""
    from tests import reference

    data = np.load(SHARED / "cifar10_slice.npz")
    chosen = np.random.Generator(np.random.Philox(0)).permutation(len(data["test_labels"]))[:200]
    weights = reference.read_weights(SHARED / "resnet20-12fca82f.th")
    truth = reference.surface(
        weights,
        data["test_images"][chosen],
        data["test_labels"][chosen],
        np.linspace(-1, 1, 11),
        np.linspace(-1, 1, 9),
    )
    for precision in ("float64", "float32"):
        out = folder / f"{precision}.vtkhdf"
        setting = f"evaluation.precision={precision}"
        done = mpirun(MPICH_WHEEL, 2, job_args(out, setting), timeout=1200)
        if done.returncode:
            raise SystemExit(done.stderr)
        errors = np.abs(read_results(out).values["train_loss"] / truth - 1)
        yield {
            "precision": precision,
            "points": errors.size,
            "largest relative error": errors.max(),
        }


def balance(folder: Path) -> Iterator[Row]:
    """Naps of 20 to 60 ms a point, 16 ranks, 51 x 51 points."""
    nominal = float(NAPS.sum())
    for slow, name in ((-1, "all alike"), (5, "one 4 x slower")):
        found = [
            nominal
            / 16
            / run_ranks(
                MPICH_WHEEL, 16, "ranks", folder / "naps.vtkhdf", "sleep", "auto", 51, slow
            )["wall"]
            for _ in range(REPEATS)
        ]
        yield {"ranks": name, "efficiency": statistics.median(found), "least": min(found)}


def dispatch(folder: Path) -> Iterator[Row]:
    """Stored points a second, beside bare tasks through mpi4py's pool, 8 ranks."""
    out = folder / "null.vtkhdf"
    for chunk, side in ((1, 100), (16, 300)):
        ours, theirs = [], []
        for _ in range(REPEATS):
            found = run_ranks(MPICH_WHEEL, 8, "ranks", out, "null", chunk, side)
            ours.append(found["points"] / found["wall"])
            found = run_ranks(MPICH_WHEEL, 8, "pool", chunk, side * side)
            theirs.append(found["points"] / found["wall"])
        yield {
            "chunk": chunk,
            "lossgrid, stored points/s": round(statistics.median(ours)),
            "MPI pool, bare tasks/s": round(statistics.median(theirs)),
            "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        }


def start(folder: Path) -> Iterator[Row]:
    """Seconds from the command to its first stored point, files in the cache."""
    out = folder / "start.vtkhdf"
    for name, args in (("ResNet-20", job_args), ("dense", dense_args)):
        for ranks in (1, 2, 16):
            found = []
            for _ in range(REPEATS + 1):
                began = time.perf_counter()
                with started(MPICH_WHEEL, ranks, args(out)) as launcher:
                    while not (out.exists() and first_point_stored(out)):
                        time.sleep(0.01)
                    found.append(time.perf_counter() - began)
                    launcher.kill()
                clear(out)
            warm = found[1:]
            median = statistics.median(warm)
            yield {"network": name, "ranks": ranks, "seconds": median, "most": max(warm)}


def idle(folder: Path) -> Iterator[Row]:
    """CPU time of rank 0 while all evaluators sleep."""
    shares = []
    for _ in range(REPEATS):
        found = run_ranks(MPICH_WHEEL, 8, "ranks", folder / "idle.vtkhdf", "idle", 2)
        shares.append(found["busy"] / found["wall"])
    yield {"ranks": 8, "share of a core": statistics.median(shares), "most": max(shares)}


def size(folder: Path) -> Iterator[Row]:
    """10,000 x 10,000 points: from the file's creation to its first result, memory of rank 0."""
    out = folder / "huge.vtkhdf"
    found = run_ranks(MPICH_WHEEL, 1, "ranks", out, "size", 10_000)
    yield {
        "what runs": "engine and store alone",
        "seconds to the first result": found["wall"],
        "peak MB": round(found["peak_mb"]),
        "of them files (libraries)": "",
    }
    out.unlink()
    points = ("grid.alpha.points=10000", "grid.beta.points=10000")
    args = lossgrid_run("digits", *points, f"output={out}")
    with started(MPICH_WHEEL, 2, args):
        while not out.exists():
            time.sleep(0.01)
        created = time.perf_counter()
        while not first_point_stored(out):
            time.sleep(0.02)
        wall = time.perf_counter() - created
        time.sleep(5)
        process = f"/proc/{ranks_of(args[-1])[0]}/status"
        lines = dict(line.split(":\t", 1) for line in Path(process).read_text().splitlines())
        yield {
            "what runs": "lossgrid run jobs/digits.yaml",
            "seconds to the first result": wall,
            "peak MB": round(int(lines["VmHWM"].split()[0]) / 1024),
            "of them files (libraries)": round(int(lines["RssFile"].split()[0]) / 1024),
        }


def first_point_stored(out: Path) -> bool:
    """The corner comes first in every grid's order."""
    import h5py

    with h5py.File(out) as file:
        return bool(file["lossgrid/status"][0, 0])


CRASH_POINTS = 31 * 21


def crash(folder: Path, rounds: int = 100, ranks: int = 4, chunk: int = 4) -> Iterator[Row]:
    """Kill a random rank at a random moment, run the same command again."""
    print(f"  seed 0, {rounds} rounds, {ranks} ranks, chunks of {chunk} points")
    dice = random.Random(0)
    args = crash_args(folder, chunk)
    out, counter = folder / "crash.vtkhdf", folder / "counted"
    usual, per_point = {}, {}
    for flavour in (FLAVOURS[0], *FLAVOURS):  # the first trains the checkpoint
        began = time.monotonic()
        per_point[flavour.name] = resumed(flavour, ranks, args, counter) // (CRASH_POINTS + 1)
        usual[flavour.name] = time.monotonic() - began, computing(out)
        truth = values(out).tobytes()
        clear(out)
    worst, stored = 0.0, []
    for number in range(rounds):
        flavour = FLAVOURS[number % len(FLAVOURS)]
        counter.unlink(missing_ok=True)
        whole, busy = usual[flavour.name]
        # half of the kills anywhere from the start on, half while points are computed
        moment = dice.uniform(0, whole) if number // 4 % 2 else dice.uniform(0, busy)
        kill_one(flavour, ranks, args, counter, moment, None if number // 4 % 2 else out, dice)
        stored.append(read_results(out).count(1) if out.exists() else -1)
        once = counter.stat().st_size if counter.exists() else 0
        again = resumed(flavour, ranks, args, counter)
        if values(out).tobytes() != truth:
            raise SystemExit(f"round {number}: another surface than undisturbed")
        # each run that came so far has measured theta itself, too
        extra = (once + again) / per_point[flavour.name] - CRASH_POINTS - 1 - (stored[-1] >= 0)
        worst = max(worst, extra)
        left = [p.name for p in folder.iterdir() if ".lock" in p.name or ".new" in p.name]
        if left:
            raise SystemExit(f"round {number}: left behind {left}")
        clear(out)
        print(f"  round {number}: {flavour.name}, {stored[-1]} stored, {extra:.1f} again")
    yield {
        "rounds": rounds,
        "killed before the file was there": stored.count(-1),
        "with some points stored": sum(0 < count < CRASH_POINTS for count in stored),
        "most points recomputed": round(worst, 1),
        "handed out at a time": 2 * ranks * chunk,
        "damaged, refused or unequal": 0,
    }


def crash_args(folder: Path, chunk: int) -> list[str]:
    here = ROOT / "benchmarks/counted.py"
    settings = (
        f"model={{factory: '{here}:model', recipe: '{here}:train', "
        f"checkpoint: {folder}/counted.pt}}",
        "grid.alpha.points=31",
        "grid.beta.points=21",
        f"runtime.chunk={chunk}",
        f"output={folder}/crash.vtkhdf",
    )
    return lossgrid_run("digits", *settings)


def computing(out: Path) -> float:
    """Seconds from the first hand-out to the last store of the last run."""
    return float(list(RunLog(out).events())[-1]["seconds"])


def resumed(flavour: Flavour, ranks: int, args: list[str], counter: Path) -> int:
    """Run to the end; forward passes that it took."""
    before = counter.stat().st_size if counter.exists() else 0
    environment = flavour.environment() | {"COUNTED": str(counter)}
    done = mpirun(flavour, ranks, args, timeout=180, env=environment)
    if done.returncode:
        raise SystemExit(f"{flavour.name}: status {done.returncode}\n{done.stderr}")
    return counter.stat().st_size - before


def kill_one(
    flavour: Flavour,
    ranks: int,
    args: list[str],
    counter: Path,
    seconds: float,
    awaited: Path | None,
    dice: random.Random,
) -> None:
    """Start a run, wait (from when a file is there, if one is named), kill -9 one of its ranks.

    The launcher must end by itself.
    """
    environment = flavour.environment() | {"COUNTED": str(counter)}
    with started(flavour, ranks, args, env=environment) as launcher:
        while awaited is not None and not awaited.exists() and launcher.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        found = ranks_of(args[-1])
        if found:
            with suppress(ProcessLookupError):
                os.kill(dice.choice(found), signal.SIGKILL)
        launcher.communicate(timeout=60)


def ranks_of(mark: str) -> list[int]:
    """Python processes with `mark` among their arguments."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = cmdline.read_bytes().split(b"\0")
            if b"python" in words[0] and mark.encode() in words:
                found.append(int(cmdline.parent.name))
    return sorted(found)


def clear(out: Path) -> None:
    for path in out.parent.glob(f"{out.stem}.*"):
        path.unlink()


SECTIONS: dict[str, Callable[[Path], Iterator[Row]]] = {
    function.__name__: function
    for function in (start, size, idle, dispatch, balance, right, bits, resume, crash)
}


def show(rows: list[Row]) -> None:
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + " --- |" * len(names))
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    for name in sys.argv[1:] or SECTIONS:
        section = SECTIONS[name]
        print(f"\n### {name}: {section.__doc__}\n", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            show(list(section(Path(folder))))


if __name__ == "__main__":
    main()

"""Faults at random moments, again and again: `make soak`, or `soak.py ROUNDS SEED SECTION...`.

`faults` plays many rounds of what the tests in tests/faults play one of each; `kills` and `stops`
measure what lost ranks cost those that go on. Needs the four MPI environments and, for small disks,
root. Writes Markdown tables.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.engine import Row, ranks_of, show  # noqa: E402
from benchmarks.survivors import COLUMN, RECORD  # noqa: E402
from lossgrid.exits import COMPLETE  # noqa: E402
from lossgrid.store.log import RunLog  # noqa: E402
from lossgrid.store.results import read_results  # noqa: E402
from tests.faults.faults import FAULTS, send  # noqa: E402
from tests.faults.harness import Harness  # noqa: E402
from tests.mpi import OPENMPI_ULFM, started  # noqa: E402

RANKS, SIDE, CHUNK = 16, 41, 4
DISTURBED_SECONDS = 3.0
LEAST_LEASE = 2.0
"""Seconds, instead of 30, so that a run is long enough for workers to be missed."""


class Round:
    """One run that is disturbed, and what came of it.

    Attributes:
        status: of mpirun.
        values: stored.
        done: how many points.
        computed: by process, records of all that it has computed.
        events: of its log, about ranks.
        first: process of rank 0.
    """

    def __init__(self, folder: Path, disturb: Callable[[list[int]], None]) -> None:
        self.folder = folder
        args = ["-m", "benchmarks.survivors", folder, SIDE, CHUNK, LEAST_LEASE]
        with started(OPENMPI_ULFM, RANKS, list(map(str, args))) as launcher:
            while len(list(folder.glob("*.points"))) < RANKS or not self._begun():
                if launcher.poll() is not None:
                    raise SystemExit(f"ended at once: {launcher.communicate()}")
                time.sleep(0.02)
            self.first = int((folder / "rank0").read_text())
            disturb([process for process in ranks_of(str(folder)) if process != self.first])
            _, self.said = launcher.communicate(timeout=300)
        self.status = launcher.returncode
        found = read_results(folder / "soak.vtkhdf")
        self.values, self.done = found.values[COLUMN].tobytes(), found.count(1)
        self.computed = {
            int(path.stem): np.frombuffer(path.read_bytes(), RECORD)
            for path in folder.glob("*.points")
        }
        events = RunLog(folder / "soak.vtkhdf").events()
        self.events = [event["what"] for event in events if event["event"] == "rank"]

    def _begun(self) -> bool:
        return all(path.stat().st_size for path in self.folder.glob("*.points"))

    def again(self, processes: list[int]) -> int:
        """The most points of one of these that others have computed after it."""
        return max(
            sum(
                any(
                    (records["begin"][records["point"] == point] > begin).any()
                    for other, records in self.computed.items()
                    if other != process
                )
                for point, begin, _ in self.computed[process].tolist()
            )
            for process in processes
        )

    def idle(self, disturbed: list[int]) -> float:
        """Seconds in which an undisturbed rank had nothing to compute, on the mean.

        From the first point to when all had been begun, as at the end there is nothing to do.
        """
        last = max(records["begin"].max() for records in self.computed.values())
        first = min(records["begin"].min() for records in self.computed.values())
        return statistics.mean(
            (last - first) - float((np.minimum(r["end"], last) - r["begin"]).clip(0).sum())
            for process, r in self.computed.items()
            if process not in disturbed
        )


def in_folder(disturb: Callable[[list[int]], None]) -> Round:
    folder = Path(tempfile.mkdtemp())
    try:
        return Round(folder, disturb)
    finally:
        shutil.rmtree(folder)


def at_random(
    dice: random.Random, count: int, seconds: float, number: signal.Signals
) -> tuple[list[int], Callable[[list[int]], None]]:
    """Send some workers a signal, each at a moment of its own; who it was is listed."""
    victims: list[int] = []

    def disturb(workers: list[int]) -> None:
        began = time.monotonic()
        victims.extend(dice.sample(workers, count))
        for victim, moment in zip(
            victims, sorted(dice.uniform(0, seconds) for _ in victims), strict=True
        ):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            send(victim, number)

    return victims, disturb


def check(found: Round, truth: Round, name: str) -> None:
    if (found.status, found.done, found.values) != (0, SIDE * SIDE, truth.values):
        raise SystemExit(f"{name}: status {found.status}, {found.done} points\n{found.said}")


def faults(rounds: int, seed: int) -> Iterator[Row]:
    """Rounds of each fault: points that were seen stored before, lost, and files damaged."""
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder))
        for name in FAULTS:
            outcomes = []
            for number in range(rounds):
                outcomes.append(harness.play(name, number, seed))
                for objection in outcomes[-1].objections:
                    print(f"  {name}, round {number}: {objection}", flush=True)
            yield {
                "fault": name,
                "rounds": rounds,
                "completed at once": sum(one.status == COMPLETE for one in outcomes),
                "calls that failed": sum(one.struck for one in outcomes),
                "points seen stored": sum(one.seen for one in outcomes),
                "points lost": sum(one.lost for one in outcomes),
                "files damaged": sum(one.damaged for one in outcomes),
                "rounds with objections": sum(bool(one.objections) for one in outcomes),
            }


def kills(rounds: int, seed: int) -> Iterator[Row]:
    """SIGKILL to some of 15 workers at random moments."""
    dice = random.Random(seed)
    truths = [in_folder(lambda workers: None) for _ in range(2)]
    truth, usual = truths[0], statistics.median(one.idle([]) for one in truths)
    again: dict[int, list[int]] = {1: [], 5: [], 12: []}
    lost: dict[int, list[float]] = {1: [], 5: [], 12: []}
    for number, count in itertools.product(range(rounds), again):
        victims, disturb = at_random(dice, count, DISTURBED_SECONDS, signal.SIGKILL)
        found = in_folder(disturb)
        check(found, truth, f"{count} killed, round {number}")
        again[count].append(found.again(victims))
        lost[count].append((found.idle(victims) - usual) / count)
        told, most = found.events.count("dead"), again[count][-1]
        print(f"  {count} killed, {told} told, {most} again, {lost[count][-1]:.2f} s", flush=True)
    for count in again:
        yield {
            "workers killed": count,
            "rounds": rounds,
            "complete, bitwise equal": rounds,
            "most points of a dead rank computed again": max(again[count]),
            "points a chunk": CHUNK,
            "idle s of a survivor a death, median": statistics.median(lost[count]),
            "most": max(lost[count]),
        }


def stops(rounds: int, seed: int) -> Iterator[Row]:
    """SIGSTOP to 5 of 15 workers at random moments, SIGCONT after some seconds or never."""
    dice = random.Random(seed)
    truth = in_folder(lambda workers: None)
    for ever in (False, True):
        silent, answers = 0, 0
        for number in range(rounds):
            victims, stop = at_random(dice, 5, DISTURBED_SECONDS / 2, signal.SIGSTOP)

            def disturb(
                workers: list[int],
                stop: Callable[[list[int]], None] = stop,
                victims: list[int] = victims,
                ever: bool = ever,
            ) -> None:
                stop(workers)
                if not ever:
                    time.sleep(LEAST_LEASE + 2)
                    for victim in victims:
                        send(victim, signal.SIGCONT)

            found = in_folder(disturb)
            check(found, truth, f"stopped, round {number}")
            silent += found.events.count("silent")
            answers += found.events.count("answers")
            print(f"  {'for ever' if ever else 'for a while'}: {found.events}", flush=True)
        yield {
            "5 workers stopped": "for ever" if ever else "for some seconds",
            "rounds": rounds,
            "complete, bitwise equal": rounds,
            "noticed": silent,
            "answered again": answers,
        }


SECTIONS = {section.__name__: section for section in (faults, kills, stops)}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 17
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for name in sys.argv[3:] or SECTIONS:
        section = SECTIONS[name]
        print(f"\n### {name}: {section.__doc__} Seed {seed}.\n", flush=True)
        show(list(section(rounds, seed)))


if __name__ == "__main__":
    main()

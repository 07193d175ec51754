"""`lossgrid status`: how far a results file is."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lossgrid.cluster.queue import Queued, look_up
from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED, PENDING
from lossgrid.errors import UserError
from lossgrid.run import later, precision, trajectories
from lossgrid.run.progress import clock, counted
from lossgrid.run.rankevents import RankEvent, lasting
from lossgrid.store.lock import is_alive, read_holder
from lossgrid.store.log import RunLog
from lossgrid.store.results import Results, read_results
from lossgrid.store.tally import Tally
from lossgrid.view.snapshot import choose_column, is_fraction

_MESSAGES = 5


@dataclass(frozen=True)
class Work:
    """The run that is at work on a file.

    Attributes:
        host, process: where it is.
        ranks: how many it has; None while it loads.
        ranks_per_worker: how many of them compute each point together.
        points_per_second: since it began to compute; None while it loads.
        recent_points_per_second: over the last minute, as `lossgrid watch` sees it; None to who has
            looked just once.
        seconds_left: at the rate since it began; None if that is unknown.
    """

    host: str
    process: int
    ranks: int | None = None
    points_per_second: float | None = None
    recent_points_per_second: float | None = None
    seconds_left: float | None = None
    ranks_per_worker: int = 1

    def text(self) -> str:
        """All of it for people."""
        if self.points_per_second is None:
            return f"{self.place()}: loading, nothing computed yet"
        return f"{self.place()}: {self.rate()}, {self.left()} left"

    def place(self) -> str:
        """Where it is, in words."""
        ranks = {None: "", 1: " with 1 rank"}.get(self.ranks, f" with {self.ranks} ranks")
        together = f", {self.ranks_per_worker} to a point" if self.ranks_per_worker > 1 else ""
        return f"running on {self.host} (process {self.process}){ranks}{together}"

    def rate(self) -> str:
        """Points a second, in words."""
        recent = self.recent_points_per_second
        lately = "" if recent is None else f" (now {recent:.3g})"
        return f"{self.points_per_second:.3g} points/s{lately}"

    def left(self) -> str:
        """Remaining time, in words."""
        return "unknown" if self.seconds_left is None else clock(self.seconds_left)


@dataclass(frozen=True)
class RankWork:
    """What one rank has computed, over all runs.

    Attributes:
        points: how many; one that was computed twice counts twice.
        seconds_per_point: the mean.
    """

    rank: int
    points: int
    seconds_per_point: float


@dataclass(frozen=True)
class Lattice:
    """The lattice in work: the coarsest that is not complete.

    Attributes:
        every: its spacing, in points of the grid.
        points: that it has; `settled` of them are not pending.
    """

    every: int
    points: int
    settled: int

    def text(self) -> str:
        """Which it is and how far, in words."""
        suffix = "nd" if self.every % 10 == 2 and self.every % 100 != 12 else "th"
        which = "all points" if self.every == 1 else f"every {self.every}{suffix} point"
        return f"{which}, {self.settled} of {self.points}"


@dataclass(frozen=True)
class Best:
    """Where a column is smallest (largest if it is an accuracy).

    Attributes:
        at: coordinates.
        values: of all columns there; None where not finite.
    """

    column: str
    value: float
    at: dict[str, float]
    values: dict[str, float | None]

    def text(self) -> str:
        """Column, value and place."""
        best = "largest" if is_fraction(self.column) else "smallest"
        return f"{best} {self.column}: {self.value:.6g} at {self.place()}"

    def place(self) -> str:
        """Where it is, in words."""
        return ", ".join(f"{axis} {value:.4g}" for axis, value in self.at.items())


@dataclass(frozen=True)
class Status:
    """How far a results file is; right also during a run.

    Attributes:
        file: its path.
        points: of the grid; each is done, interpolated, failed or pending.
        lattice: in work; None when nothing is pending.
        best: None while there is no finite value.
        by_rank: of all ranks that have computed anything.
        errors: the first few failed points, each with where it is and its message.
        ranks_out: what became of ranks that the last run has lost.
        epochs: how many points were computed by which plan, in words, if there are several.
        compared: how far values of low precision are from those of float32, in words.
        trajectories: how much of each the plane shows, and how true the surface is, in words.
        spectra: what they lack, in words.
        later_pending, later_failed: how many true values of checkpoints and probes of spectra,
            which follow the points.
        work: the run that is at work, if one is.
        queue: the SLURM job that the file was last submitted to or computed by, if it was, and if
            SLURM can be asked; only `Status.of` does, since all its users wait for its answers.
    """

    file: str
    points: int
    done: int
    interpolated: int
    failed: int
    pending: int
    lattice: Lattice | None
    best: Best | None
    by_rank: list[RankWork]
    errors: list[dict[str, str]]
    ranks_out: list[RankEvent]
    epochs: str | None
    compared: str | None
    trajectories: list[str]
    spectra: str | None
    later_pending: int
    later_failed: int
    work: Work | None
    queue: Queued | None = None

    @classmethod
    def of(cls, path: Path, column: str | None = None) -> Status:
        """Read the status of a file.

        Args:
            path: of the file.
            column: whose best value is told; by default as in figures.

        Raises:
            UserError: the file can't be read, or there is no such column.
        """
        try:
            tally = tally_of(path, column)
        except UserError as error:
            queue = _queue(path)
            if queue is None or path.exists():
                raise
            raise UserError(f"{path}: not there yet; {queue.text()}") from error
        return replace(cls.told(tally), queue=_queue(path))

    @classmethod
    def told(cls, tally: Tally) -> Status:
        """The same of a file that may have been counted before.

        Raises:
            UserError: the file can't be read.
        """
        results = tally.results
        holder = read_holder(results.path)
        at_work = holder if is_alive(holder) else None
        tally.update()  # after that, so that where nobody is at work nothing is missing
        after = later.both(results)
        return cls(
            file=str(results.path),
            points=results.points,
            done=tally.count(DONE),
            interpolated=tally.count(INTERPOLATED),
            failed=tally.count(FAILED),
            pending=tally.count(PENDING),
            lattice=_lattice(tally),
            best=_best(tally),
            by_rank=_by_rank(tally),
            errors=[
                {"at": results.place(point), "message": message}
                for point, message in list(tally.errors.items())[:_MESSAGES]
            ],
            ranks_out=lasting(list(RunLog(results.path).events())),
            epochs=_epochs(results),
            compared=precision.told(results),
            trajectories=trajectories.told(results),
            spectra=later.spectra_told(results),
            later_pending=int((after == PENDING).sum()),
            later_failed=int((after == FAILED).sum()),
            work=None if at_work is None else _work(tally, at_work),
        )

    def json(self) -> str:
        """All of it as one line."""
        return json.dumps(asdict(self))

    def text(self) -> str:
        """All of it for people."""
        lines = [
            f"{self.file}: {self.progress()}",
            self.pace(),
            *([self.queue.text()] if self.queue else []),
            *self.losses(),
            *filter(None, [self.best.text() if self.best else None, self.epochs, self.compared]),
            *self.trajectories,
            *filter(None, [self.spectra]),
            *(f"  at {error['at']}: {error['message']}" for error in self.errors),
        ]
        if self.failed > len(self.errors):
            lines.append(f"  and {self.failed - len(self.errors)} more")
        return "\n".join(lines)

    def losses(self) -> list[str]:
        """What became of the first few ranks that were lost, in words."""
        said = [event.text() for event in self.ranks_out[:_MESSAGES]]
        more = len(self.ranks_out) - len(said)
        return [*said, *([f"and {counted(more, 'more rank')} like it"] if more else [])]

    def progress(self) -> str:
        """How many points are done and how many have failed, in words."""
        settled = self.done + self.interpolated
        said = f", {self.interpolated} of them interpolated" if self.interpolated else ""
        share = f"{settled} of {self.points} points done{said} ({settled / self.points:.1%})"
        return f"{share}, {self.failed} failed"

    def pace(self) -> str:
        """Who is at work and how fast, or what the last run came to."""
        if self.work is not None:
            return self.work.text()
        if self.pending or self.later_pending:
            return "no run is at work; 'lossgrid run JOB' goes on"
        if self.failed or self.later_failed:
            return "no run is at work; the same 'lossgrid run JOB' tries again what has failed"
        return "finished"


def tally_of(path: Path, column: str | None) -> Tally:
    """What counts a file; nothing is counted yet.

    Raises:
        UserError: see `Status.of`.
    """
    results = read_results(path)
    chosen = choose_column(results, column)
    return Tally(results, chosen, is_fraction(chosen))


def _queue(path: Path) -> Queued | None:
    """What SLURM says of the job that last had to do with a file."""
    jobs = [event["slurm_job"] for event in RunLog(path).events() if "slurm_job" in event]
    return look_up(jobs[-1]) if jobs and jobs[-1] else None


def _lattice(tally: Tally) -> Lattice | None:
    for stride in tally.lattices():
        status = tally.on_lattice(stride)
        settled = int(np.count_nonzero(status))
        if settled < status.size:
            return Lattice(stride, status.size, settled)
    return None


def _best(tally: Tally) -> Best | None:
    if tally.best is None:
        return None
    results = tally.results
    values = results.at(np.array([tally.best]), list(results.values))[0].tolist()
    return Best(
        tally.column,
        tally.best_value,
        results.coordinates(tally.best),
        {
            name: value if math.isfinite(value) else None
            for name, value in zip(results.values, values, strict=True)
        },
    )


def _epochs(results: Results) -> str | None:
    """See `lossgrid.run.epochs`, which loads torch and is rarely needed."""
    if len(results.epochs) <= 1:
        return None
    from lossgrid.run.epochs import told

    return told(results)


def _by_rank(tally: Tally) -> list[RankWork]:
    return [
        RankWork(rank, points, seconds / points)
        for rank, (points, seconds) in enumerate(
            zip(tally.rank_points.tolist(), tally.rank_seconds.tolist(), strict=True)
        )
        if points
    ]


def _work(tally: Tally, holder: dict[str, Any]) -> Work:
    loading = Work(holder["host"], holder["pid"])
    starts = [e for e in RunLog(tally.results.path).events() if e["event"] == "start"]
    if not starts or starts[-1]["time"] < holder["began"]:
        return loading
    start = starts[-1]
    computed = tally.tries - start["tries"]
    rate = computed / max(time.time() - start["time"], 1e-9)
    left = (start["left"] - computed) / rate if rate > 0 else None
    ranks = {"ranks": start["ranks"], "ranks_per_worker": start.get("ranks_per_worker", 1)}
    return replace(loading, **ranks, points_per_second=rate, seconds_left=left)

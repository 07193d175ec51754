"""`lossgrid status`: how far a results file is."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lossgrid import epochs, precision
from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED
from lossgrid.progress import clock
from lossgrid.store.lock import is_alive, read_holder
from lossgrid.store.log import RunLog
from lossgrid.store.results import Results, read_results

_MESSAGES = 5


@dataclass(frozen=True)
class Work:
    """The run that is at work on a file.

    Attributes:
        host, process: where it is.
        ranks: how many it has; None while it loads.
        points_per_second: since it began to compute; None while it loads.
        seconds_left: at that rate; None if that is unknown.
    """

    host: str
    process: int
    ranks: int | None = None
    points_per_second: float | None = None
    seconds_left: float | None = None

    def text(self) -> str:
        """All of it for people."""
        at_work = f"running on {self.host} (process {self.process})"
        if self.points_per_second is None:
            return f"{at_work}: loading, nothing computed yet"
        left = "unknown" if self.seconds_left is None else clock(self.seconds_left)
        ranks = "1 rank" if self.ranks == 1 else f"{self.ranks} ranks"
        return f"{at_work} with {ranks}: {self.points_per_second:.3g} points/s, {left} left"


@dataclass(frozen=True)
class Status:
    """How far a results file is; right also during a run.

    Attributes:
        file: its path.
        points: of the grid; each is done, interpolated, failed or pending.
        errors: the first few failed points, each with where it is and its message.
        epochs: how many points were computed by which plan, in words, if there are several.
        compared: how far values of low precision are from those of float32, in words.
        work: the run that is at work, if one is.
    """

    file: str
    points: int
    done: int
    interpolated: int
    failed: int
    pending: int
    errors: list[dict[str, str]]
    epochs: str | None
    compared: str | None
    work: Work | None

    @classmethod
    def of(cls, path: Path) -> Status:
        """Read the status of a file.

        Raises:
            UserError: the file can't be read.
        """
        results = read_results(path)
        done, interpolated = results.count(DONE), results.count(INTERPOLATED)
        failed = results.count(FAILED)
        stored = done + interpolated + failed
        return cls(
            file=str(path),
            points=results.points,
            done=done,
            interpolated=interpolated,
            failed=failed,
            pending=results.points - stored,
            errors=[
                {"at": results.place(point), "message": message}
                for point, message in list(results.errors().items())[:_MESSAGES]
            ],
            epochs=epochs.told(results),
            compared=precision.told(results),
            work=_work(results, stored),
        )

    def json(self) -> str:
        """All of it as one line."""
        return json.dumps(asdict(self))

    def text(self) -> str:
        """All of it for people."""
        settled = self.done + self.interpolated
        said = f", {self.interpolated} of them interpolated" if self.interpolated else ""
        lines = [
            f"{self.file}: {settled} of {self.points} points done{said} "
            f"({settled / self.points:.1%}), {self.failed} failed",
            self._pace(),
            *filter(None, [self.epochs, self.compared]),
            *(f"  at {error['at']}: {error['message']}" for error in self.errors),
        ]
        if self.failed > len(self.errors):
            lines.append(f"  and {self.failed - len(self.errors)} more")
        return "\n".join(lines)

    def _pace(self) -> str:
        """Who is at work and how fast, or what the last run came to."""
        if self.work is not None:
            return self.work.text()
        if self.failed:
            return "no run is at work; the same 'lossgrid run JOB' tries the failed points again"
        return "no run is at work; 'lossgrid run JOB' goes on" if self.pending else "finished"


def _work(results: Results, stored: int) -> Work | None:
    holder = read_holder(results.path)
    if holder is None or not is_alive(holder):
        return None
    loading = Work(holder["host"], holder["pid"])
    starts = [e for e in RunLog(results.path).events() if e["event"] == "start"]
    if not starts or starts[-1]["time"] < holder["began"]:
        return loading
    start = starts[-1]
    rate = (stored - start["done"]) / max(time.time() - start["time"], 1e-9)
    left = (results.points - stored) / rate if rate > 0 else None
    return replace(loading, ranks=start["ranks"], points_per_second=rate, seconds_left=left)

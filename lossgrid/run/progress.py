"""Showing how a run goes: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from lossgrid.engine.messages import FAILED, Result

LINE_SECONDS = 10.0


class ProgressView:
    """Counts stored points, and shows them with rate and remaining time.

    Args:
        total: points of the grid.
        done: points that need not be computed any more.
        console: where to show it.
    """

    def __init__(self, total: int, done: int, console: Console) -> None:
        self._total = total
        self._before = done
        self._console = console
        self._began = time.monotonic()
        self._last_line = self._began
        self.stored_points = 0
        self.failed_points = 0
        self._failed = np.zeros(total, bool)
        self.ranks: set[int] = set()
        self._out: set[int] = set()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("evaluating", total=total, completed=done, state="")

    def __enter__(self) -> ProgressView:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
        self._say(self.state())

    def stored(self, results: list[Result]) -> None:
        """These results are in the file."""
        for result in results:
            failed = self._failed[result.points]  # which a late success replaces
            self.stored_points += int(np.count_nonzero(~failed))
            self.failed_points += int((result.status == FAILED).sum()) - int(failed.sum())
            if failed.any() or result.errors:
                self._failed[result.points] = result.status == FAILED
            self.ranks.add(result.rank)

    def tick(self) -> None:
        """Show the present state."""
        if self._console.is_terminal:
            done = self._before + self.stored_points
            self._bar.update(self._task, completed=done, state=self.state())
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            self._say(self.state())

    def out(self, rank: int, sentence: str) -> None:
        """A rank gets no more points."""
        self._out.add(rank)
        self._say(f"{sentence}; its points go to others")

    def back(self, rank: int, sentence: str) -> None:
        """It does again."""
        self._out.discard(rank)
        self._say(sentence)

    def state(self) -> str:
        """Points, rate and remaining time in one phrase."""
        done = self._before + self.stored_points
        rate = self.stored_points / max(self.seconds(), 1e-9)
        share = f"{done} of {self._total} points ({done / self._total:.0%})"
        left = clock((self._total - done) / rate) if rate else "unknown"
        failed = f", {self.failed_points} failed" if self.failed_points else ""
        out = f", without {counted(len(self._out), 'rank')}" if self._out else ""
        return f"{share}{failed}, {rate:.3g} points/s{out}, {left} left"

    def seconds(self) -> float:
        """Since the run began to compute."""
        return time.monotonic() - self._began

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)


def counted(count: int, what: str) -> str:
    """One rank, 2 ranks."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def clock(seconds: float) -> str:
    """Seconds as a person reads them: 8 s, 3:20 min, 2:05:00 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"

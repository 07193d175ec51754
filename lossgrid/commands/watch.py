"""`lossgrid watch`: a run as it goes, in a terminal or line by line."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lossgrid.commands.status import Status, tally_of
from lossgrid.errors import UserError
from lossgrid.exits import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.store.lock import is_alive, read_holder
from lossgrid.store.tally import Tally
from lossgrid.view.characters import Characters, Line

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

RECENT_SECONDS = 60.0

REST = 30
"""Times as long as a look took the processor, it rests at least: watching must cost nothing."""

NOTICE_SECONDS = 0.2
"""After which another size of the terminal is noticed."""

NUMBERS_WIDTH = 42
PREVIEW_WIDTH = 24
"""Columns. With less room than for both, the numbers come below the preview."""

BAR = 28
"""Columns of the bar."""

PREVIEW_HEIGHT = 7
"""Lines. With less there is no preview."""

LAST_HEIGHT = 32
"""Lines that the last picture takes at most, which stays on the terminal."""


def watch(path: Path, every: float, column: str | None) -> int:
    """Show how far a results file is, until no run is at work on it.

    It only reads; a run does not notice it.

    Args:
        path: of the file; it need not be there yet if a run is loading.
        every: seconds between two looks.
        column: what to show; by default as in figures.

    Returns: the exit status.

    Raises:
        UserError: the file can't be read, has been removed, or has no such column.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the terminal is given back
    try:
        with Screen() if _has_screen() else Lines() as shown:
            status = _follow(Watched(path, column), every, shown)
    except (KeyboardInterrupt, BrokenPipeError):
        return INTERRUPTED
    if status.pending or status.later_pending:
        return UNFINISHED
    return SOME_FAILED if status.failed or status.later_failed else COMPLETE


def _follow(watched: Watched, every: float, shown: Shown) -> Status:
    """Look until no run is at work; returns the last status."""
    while True:
        began = time.process_time()
        status = watched.look()
        shown.show(watched, status)
        if status is not None and status.work is None:
            return status
        shown.wait(max(every, REST * (time.process_time() - began)))


class Watched:
    """A results file that is looked at again and again.

    Attributes:
        tally: of the file; None until it is there.
        news: that another file has taken its place, in words; empty if none has.
    """

    def __init__(self, path: Path, column: str | None) -> None:
        self._path = path
        self._column = column
        self._looks: deque[tuple[float, int]] = deque()
        self.tally: Tally | None = None
        self.news = ""

    def look(self) -> Status | None:
        """How far it is now; None while a run is loading and the file is not there yet.

        Raises:
            UserError: it can't be read, or has been removed.
        """
        if not self._path.exists():
            if self.tally is not None:
                raise UserError(f"{self._path}: has been removed while it was watched")
            if is_alive(read_holder(self._path)):
                return None
        status = Status.told(self._found())
        recent = self._recent(time.monotonic())
        if status.work is None or status.work.points_per_second is None:
            return status
        return replace(status, work=replace(status.work, recent_points_per_second=recent))

    def waiting(self) -> str:
        """What it is waited for while the file is not there."""
        return f"{self._path}: not there yet; its run is loading"

    def _found(self) -> Tally:
        """What counts the file that is there now."""
        tally = tally_of(self._path, self._column)
        if self.tally is None or self.tally.results.attributes != tally.results.attributes:
            if self.tally is not None:
                self.news = f"replaced by a new file at {time.strftime('%H:%M:%S')}"
                self._looks.clear()
            self.tally = tally
        return self.tally

    def _recent(self, now: float) -> float | None:
        """Points a second over the last minute, or as long as there were looks."""
        assert self.tally is not None  # it has just been looked at
        self._looks.append((now, self.tally.tries))
        while len(self._looks) > 1 and self._looks[1][0] <= now - RECENT_SECONDS:
            self._looks.popleft()
        since, tries = self._looks[0]
        return (self.tally.tries - tries) / (now - since) if now > since else None


class Shown(Protocol):
    """Where people look."""

    def show(self, watched: Watched, status: Status | None) -> None:
        """Show what a look has found."""

    def wait(self, seconds: float) -> None:
        """Until the next look."""


class Lines:
    """A line each look, where there is no terminal."""

    def show(self, watched: Watched, status: Status | None) -> None:
        """See `Shown`."""
        line = watched.waiting() if status is None else _line(watched, status)
        print(line, file=sys.__stdout__, flush=True)

    def wait(self, seconds: float) -> None:
        """See `Shown`."""
        time.sleep(seconds)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Screen:
    """Picture and numbers on the whole terminal; the last ones stay on it."""

    def __init__(self) -> None:
        self._console = Console(file=sys.__stdout__, highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._last: RenderableType = ""

    def show(self, watched: Watched, status: Status | None) -> None:
        """See `Shown`."""
        self._last = watched.waiting() if status is None else Frame(watched, status)
        self._live.update(self._last, refresh=True)

    def wait(self, seconds: float) -> None:
        """See `Shown`."""
        size, until = self._console.size, time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, NOTICE_SECONDS))
            if self._console.size != size:
                size = self._console.size
                self._live.refresh()

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._live.stop()
        if kind is None:
            self._console.print(self._last, height=min(self._console.height - 1, LAST_HEIGHT))


def _has_screen() -> bool:
    terminal = sys.__stdout__ is not None and sys.__stdout__.isatty()
    return terminal and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


@dataclass(frozen=True)
class Frame:
    """Numbers and the preview, side by side or one above the other, as there is room."""

    watched: Watched
    status: Status

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height - 1
        options = options.update(height=None)
        beside = options.max_width >= NUMBERS_WIDTH + PREVIEW_WIDTH
        width = NUMBERS_WIDTH if beside else options.max_width
        numbers = console.render_lines(self._numbers(), options.update(width=width))
        if beside:  # line by line: a table would measure every cell of the picture several times
            right = self._preview(console, options.update(width=options.max_width - width), height)
            blank = [Segment(" " * width)]
            lines = [(left or blank) + (part or []) for left, part in zip_longest(numbers, right)]
        else:
            lines = [*self._preview(console, options, height - len(numbers)), *numbers]
        for line in lines:
            yield from line
            yield Segment.line()

    def _preview(self, console: Console, options: ConsoleOptions, height: int) -> list[Line]:
        """Nothing where there is no room for it."""
        assert self.watched.tally is not None  # it has a status
        if height < PREVIEW_HEIGHT:
            return []
        lines = Characters(self.watched.tally, height).lines(console, options)
        return [Segment.adjust_line_length(line, options.max_width) for line in lines]

    def _numbers(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        for name, fact in self._facts():
            table.add_row(name, Text(fact) if isinstance(fact, str) else fact)
        return table

    def _facts(self) -> Iterator[tuple[str, RenderableType]]:
        """Names and what is to be said of them."""
        status, work = self.status, self.status.work
        settled = status.done + status.interpolated
        yield "file", Path(status.file).name
        if self.watched.news:
            yield "", self.watched.news
        yield "", ProgressBar(status.points, settled, width=BAR, complete_style="green")
        yield "done", f"{settled} of {status.points} points ({settled / status.points:.1%})"
        if status.interpolated:
            yield "", f"{status.interpolated} of them interpolated"
        yield "failed", Text(str(status.failed), style="red" if status.failed else "")
        yield "pending", str(status.pending)
        if status.lattice is not None:
            yield "lattice", status.lattice.text()
        if work is not None and work.points_per_second is not None:
            yield "rate", work.rate()
            yield "left", work.left()
        yield from self._ranks()
        if status.best is not None:
            yield "", ""
            yield "best", f"{status.best.column} {status.best.value:.6g}"
            yield "", f"at {status.best.place()}"
            for name, value in status.best.values.items():
                if name != status.best.column and value is not None:
                    yield "", f"{name} {value:.6g}"
        yield "", ""
        for error in status.errors[:2]:
            yield "failure", f"at {error['at']}: {error['message']}"
        for loss in status.losses()[:2]:
            yield "lost", loss
        yield "run", status.pace() if work is None else work.place()

    def _ranks(self) -> Iterator[tuple[str, RenderableType]]:
        """How many points the ranks have computed each, and which is the slowest."""
        ranks = self.status.by_rank
        if ranks:
            counts = sorted(rank.points for rank in ranks)
            least, most = counts[0], counts[-1]
            each = f"{least} to {most}" if least < most else f"{most}"
            yield "ranks", f"{len(ranks)} with {each} points{' each' if len(ranks) > 1 else ''}"
        if len(ranks) > 1:
            slowest = max(ranks, key=lambda rank: rank.seconds_per_point)
            usual = median(rank.seconds_per_point for rank in ranks)
            yield "slowest", f"rank {slowest.rank}: {slowest.seconds_per_point:.3g} s a point"
            yield "", f"(median {usual:.3g} s)"


def _line(watched: Watched, status: Status) -> str:
    """The numbers that change, in one line."""
    told = [f"{status.file}: {status.progress()}", watched.news, status.pace()]
    if status.lattice is not None:
        told.insert(2, status.lattice.text())
    if status.best is not None:
        told.append(status.best.text())
    return "; ".join(filter(None, told))

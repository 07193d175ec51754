from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from lossgrid.engine.messages import DONE, FAILED, Result
from lossgrid.run import progress
from lossgrid.run.progress import ProgressView, clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (200, "3:20 min"), (7500, "2:05:00 h")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def result(points: range, status: int = DONE) -> Result:
    size = np.zeros(len(points), np.float32)
    errors = [(point, "too far out") for point in points if status == FAILED]
    return Result(1, 1, np.array(points), None, np.full(size.shape, status, np.uint8), size, errors)


def shown(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with ProgressView(100, 20, console) as view:
        view.stored([result(range(30)), result(range(50, 55), FAILED)])
        view.tick()
    assert (view.stored_points, view.failed_points) == (35, 5)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(False, monkeypatch)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert len(lines) == 2  # one a tick, one at the end
    assert lines[0].startswith("55 of 100 points (55%), 5 failed, ")
    assert "points/s" in lines[0]
    assert "left" in lines[0]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(True, monkeypatch)
    assert "\x1b" in text
    assert "evaluating" in text
    assert "points/s" in text


def test_a_late_success_counts_once() -> None:
    view = ProgressView(100, 0, Console(file=io.StringIO()))
    view.stored([result(range(4), FAILED), result(range(4, 6))])
    view.stored([result(range(1, 3)), result(range(3, 4), FAILED)])
    assert (view.stored_points, view.failed_points) == (6, 2)


def test_ranks_that_are_lost_are_told_and_counted() -> None:
    console = Console(file=io.StringIO(), width=100)
    view = ProgressView(100, 0, console)
    view.out(3, "rank 3 on node7 fails: RuntimeError: [device] assert")
    assert ", without 1 rank, " in view.state()
    view.out(4, "rank 4 on node7 does not answer")
    assert ", without 2 ranks, " in view.state()
    view.back(4, "rank 4 on node7 answers again")
    assert ", without 1 rank, " in view.state()
    said = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert said[0].endswith(": RuntimeError: [device] assert; its points go to others")
    assert said[2] == "rank 4 on node7 answers again"

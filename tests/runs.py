"""What the tests of whole runs share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from lossgrid.engine.messages import DONE
from lossgrid.engine.signals import StopRequest
from lossgrid.store.results import Results, read_results


def results(folder: Path) -> Results:
    return read_results(folder / "out" / "toy.vtkhdf")


def stacked(found: Results) -> bytes:
    return np.stack([found.values[name] for name in found.values]).tobytes()


def plane(nx: int, ny: int) -> dict[str, dict[str, float]]:
    return {
        "alpha": {"min": -1, "max": 1, "points": nx},
        "beta": {"min": -1, "max": 1, "points": ny},
    }


def await_points(folder: Path, wanted: int, seconds: float = 60) -> None:
    """Return once so many points are stored: a reader beside the running job."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        there = (folder / "out" / "toy.vtkhdf").exists()
        if there and results(folder).count(DONE) >= wanted:
            return
        time.sleep(0.05)
    raise TimeoutError(f"fewer than {wanted} points after {seconds} s")


def rank_processes(job: Path) -> list[int]:
    """Python processes that run a job, in the order in which they started."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"python" in words[0] and str(job).encode() in words:
            found.append(int(cmdline.parent.name))
    return sorted(found)


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """A run in this process finds that it has been asked to stop when it begins to compute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequest, "__call__", lambda request: True)
        yield


def program(folder: Path, code: str) -> Path:
    """A script that changes something, then is the command `lossgrid`."""
    script = folder / "changed.py"
    script.write_text(f"{code}from lossgrid.cli import main\nmain()\n")
    return script

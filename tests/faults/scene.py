"""What faults happen to: a job whose points take a while, and a run of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from random import Random
from threading import Event, Thread
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE
from lossgrid.errors import UserError
from lossgrid.exits import COMPLETE
from lossgrid.run.steps import run
from lossgrid.store import layout
from lossgrid.store.lock import read_holder
from lossgrid.store.results import Results, read_results
from tests.runs import plane, rank_processes
from tests.toy import toy_job

START_SECONDS = 3.0
"""About what a run takes until its first point, on a machine that does nothing else."""

PATIENCE = 240.0
"""Seconds after which a run is taken for one that hangs: a machine may be very busy."""

DISK_BYTES = 1 << 20

SAMPLES = 1000


class Scene:
    """A job, and its true values.

    Args:
        folder: a new one.
        settings: of the job, beside those that all have.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder.mkdir()
        self._slowly = folder / "slowly"
        common = {"loss": "toy.py:leisurely", "metrics": ["loss"], "grid": plane(17, 13)}
        common["data"] = {"train": {"factory": "toy.py:data", "kwargs": {"samples": SAMPLES}}}
        self.job = toy_job(folder, **common, runtime={"sync_seconds": 0.2}, **settings)
        self.disk = folder / "out"
        self.output = self.disk / "toy.vtkhdf"
        self._ballast = self.disk / "ballast"
        assert self.complete() == COMPLETE
        self.truth = bits(read_results(self.output))
        self.clear()

    def complete(self) -> int:
        """Run the job in this process, quickly and silently; its exit status.

        Raises:
            UserError: it is refused.
        """
        with redirect_stderr(StringIO()):
            return run(self.job)

    def restart(self) -> int:
        """The same after its results were lost; a file that nobody can recognize is removed."""
        with redirect_stderr(StringIO()), suppress(UserError):
            return run(self.job, overwrite=True)
        self.output.unlink()
        return self.complete()

    def clear(self) -> None:
        """Forget all results."""
        for path in self.disk.iterdir():
            path.unlink()

    @contextmanager
    def slowed(self) -> Iterator[None]:
        """A point takes 20 ms."""
        self._slowly.touch()
        try:
            yield
        finally:
            self._slowly.unlink()

    @contextmanager
    def on_small_disk(self) -> Iterator[None]:
        """The results are on a disk of their own, of a megabyte; takes root."""
        options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}"]
        subprocess.run(["mount", *options, "tmpfs", self.disk], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", self.disk], check=True)

    def fill_disk(self, room: int) -> None:
        """Leave so many bytes of the small disk."""
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while shutil.disk_usage(self.disk).free > room:
                file.write(bytes(4096))

    def empty_disk(self) -> None:
        """Give back what was filled."""
        self._ballast.unlink(missing_ok=True)


def bits(found: Results) -> NDArray[np.void]:
    """All values of each point, as they are stored: one item a point."""
    columns = np.stack([found.values[name].ravel() for name in found.values], axis=1)
    return columns.view([("values", np.void, columns.shape[1] * columns.itemsize)]).ravel()


def done(found: Results) -> NDArray[np.bool_]:
    """Which points are."""
    return found.status.ravel() == DONE


def tries(scene: Scene) -> NDArray[np.uint8]:
    """How often each point was computed and stored; 0 without a file."""
    if not scene.output.exists():
        return np.zeros(scene.truth.size, np.uint8)
    with h5py.File(scene.output) as file:
        return np.asarray(file[layout.TRIES][...]).ravel()


class Running:
    """A run on its way, and what it has stored: points that were once seen done stay so.

    A context manager, in which the results are looked at again and again.
    """

    def __init__(self, scene: Scene, launcher: subprocess.Popen[str]) -> None:
        self.scene = scene
        self.seen = np.zeros(scene.truth.size, bool)
        self._launcher = launcher
        self._ended = Event()
        self._watch = Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            with suppress(UserError):  # not there yet, or not any more
                self.seen |= done(read_results(self.scene.output))

    def __enter__(self) -> Running:
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._watch.join()

    def sometime(self, dice: Random) -> None:
        """Wait for a moment before the last points: while ranks start, or compute."""
        if dice.random() < 1 / 2:
            self.halfway(dice)
        else:
            moment = time.monotonic() + dice.uniform(0, START_SECONDS)
            self._await(lambda: time.monotonic() >= moment)

    def halfway(self, dice: Random) -> None:
        """Wait until some points are stored, and others are not."""
        points = dice.randint(1, self.seen.size * 3 // 4)
        self._await(lambda: self.seen.sum() >= points)

    def _await(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready() and self._launcher.poll() is None:
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.01)

    def ranks(self) -> list[int]:
        """Processes of all ranks that live."""
        return rank_processes(self.scene.job)

    def workers(self) -> list[int]:
        """Those of all ranks but the first, once that has begun."""
        holder = read_holder(self.scene.output)
        return [process for process in self.ranks() if holder and process != holder["pid"]]

    def kill(self) -> None:
        """End all ranks and their launcher at once."""
        for process in (self._launcher.pid, *self.ranks()):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit status, and what it has said.

        Raises:
            subprocess.TimeoutExpired: it hangs.
        """
        _, said = self._launcher.communicate(timeout=PATIENCE)
        return self._launcher.returncode, said

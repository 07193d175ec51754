from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import h5py
import pytest

from lossgrid.commands import watch as watches
from lossgrid.commands.watch import INTERRUPTED, Watched
from lossgrid.engine.messages import PENDING
from lossgrid.errors import UserError
from lossgrid.exits import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.run.steps import run
from lossgrid.store.lock import RunLock
from lossgrid.store.log import RunLog
from tests.mpi import MPICH_WHEEL, started
from tests.toy import toy_job

ROOT = Path(__file__).resolve().parents[2]
TO_SCREEN, FROM_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A program in a pseudo-terminal, which it controls."""

    def __init__(self, *arguments: object, size: tuple[int, int] = (30, 100)) -> None:
        ours, theirs = pty.openpty()
        self._handle = ours
        self.resize(*size)
        environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lossgrid", *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(theirs)
        self.said = ""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._handle, keys.encode())

    def await_(self, true: Callable[[str], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not true(self.said):
            assert time.monotonic() < deadline, self.said[-3000:]
            time.sleep(0.02)

    def ended(self, seconds: float = 60) -> int:
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=10)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._handle)

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed
            while data := os.read(self._handle, 65536):
                self.said += data.decode(errors="replace")


@contextmanager
def terminal(*arguments: object, **options: tuple[int, int]) -> Iterator[Terminal]:
    shown = Terminal(*arguments, **options)
    try:
        yield shown
    finally:
        shown.close()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def lossgrid(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lossgrid", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A complete results file."""
    assert run(toy_job(tmp_path)) == COMPLETE
    return tmp_path / "out" / "toy.vtkhdf"


def half_done(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file["lossgrid/status"][1::2] = PENDING


def test_a_run_of_several_ranks_on_a_terminal(tmp_path: Path) -> None:
    axis = {"min": -1, "max": 1, "points": 21}
    job = toy_job(
        tmp_path, loss="toy.py:slow", metrics=["loss"], grid={"alpha": axis, "beta": axis}
    )
    out = tmp_path / "out" / "toy.vtkhdf"
    with started(MPICH_WHEEL, 2, ["-m", "lossgrid", "run", job]) as launcher:
        while not out.with_name("toy.vtkhdf.lock").exists():
            time.sleep(0.02)
        with terminal("watch", out, "--every", 0.1) as shown:
            shown.await_(lambda said: "pending" in said)
            launcher.communicate(timeout=60)
            assert shown.ended() == COMPLETE
    screen, last = shown.said.rsplit(FROM_SCREEN, 1)
    assert TO_SCREEN in screen
    assert "▀" in screen
    assert "38;2;" in screen
    shares = [int(n) for n in re.findall(r"done +(\d+) of 441 points", plain(screen))]
    assert shares == sorted(shares)
    assert len(set(shares)) > 2
    assert re.search(r"lattice +(every \d+(th|nd) point|all points), \d+ of \d+ ", plain(screen))
    for words in ("points/s (now ", "left", "ranks    2 with ", "slowest  rank "):
        assert words in plain(screen), words
    assert "441 of 441 points (100.0%)" in plain(last)
    assert "finished" in plain(last)
    assert "▀" in last


def test_the_picture_fits_the_terminal_and_follows_it(out: Path) -> None:
    with RunLock(out), terminal("watch", out, "--every", 60, size=(30, 100)) as shown:
        shown.await_(lambda said: "alpha -1 to 1" in said)
        before = len(shown.said)
        assert max(map(len, plain(shown.said).splitlines())) > 60
        shown.resize(20, 50)
        shown.await_(lambda said: len(said) > before and "running on" in said[before:], 10)
        time.sleep(0.3)
        lines = plain(shown.said[before:]).splitlines()
        assert max(map(len, lines)) <= 50
        shown.type("\x03")
        assert shown.ended() == INTERRUPTED


@pytest.mark.parametrize("how", ["key", "signal"])
def test_an_end_by_the_user_is_quiet_and_gives_back_the_terminal(how: str, out: Path) -> None:
    with RunLock(out), terminal("watch", out) as shown:
        shown.await_(lambda said: "toy.vtkhdf" in said)
        if how == "key":
            shown.type("\x03")
        else:
            shown.process.send_signal(signal.SIGTERM)
        assert shown.ended() == INTERRUPTED
    assert plain(shown.said.rsplit(FROM_SCREEN, 1)[1]).strip() in ("", "^C")


def test_exit_statuses(out: Path, tmp_path: Path) -> None:
    assert lossgrid("watch", out).returncode == COMPLETE
    half_done(out)
    done = lossgrid("watch", out)
    assert done.returncode == UNFINISHED
    assert "21 of 35 points done (60.0%), 0 failed" in done.stdout
    assert "no run is at work" in done.stdout
    (tmp_path / "broken").touch()
    job = toy_job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    run(job, overwrite=True)
    assert lossgrid("watch", out).returncode == SOME_FAILED
    done = lossgrid("watch", tmp_path / "other.vtkhdf")
    assert done.returncode == 2
    assert "no such results file" in done.stderr
    done = lossgrid("watch", out, "--column", "train_los")
    assert done.returncode == 2
    assert "did you mean 'train_loss'?" in done.stderr


def test_a_line_a_look_without_a_terminal(out: Path) -> None:
    half_done(out)
    with RunLock(out):
        RunLog(out).event("start", left=28, tries=35, ranks=3, host="here")
        command = [sys.executable, "-m", "lossgrid", "watch", str(out), "--every", "0.1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as watching:
            assert watching.stdout is not None
            lines = [watching.stdout.readline() for _ in range(3)]
            watching.stdout.close()  # nobody reads any more
            assert watching.wait(timeout=30) == INTERRUPTED
    for line in lines:
        assert line.startswith(f"{out}: 21 of 35 points done (60.0%), 0 failed; all points, ")
        assert "with 3 ranks: 0 points/s" in line
        assert "\x1b" not in line
    assert "(now 0)" in lines[2]


def test_a_run_that_loads_is_waited_for(out: Path) -> None:
    aside = out.with_name("aside")
    out.rename(aside)
    command = [sys.executable, "-m", "lossgrid", "watch", str(out), "--every", "0.1"]
    with RunLock(out):
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert watching.stdout is not None
        assert watching.stdout.readline() == f"{out}: not there yet; its run is loading\n"
        aside.rename(out)
        while "35 of 35" not in (line := watching.stdout.readline()):
            assert "not there yet" in line
        assert "loading, nothing computed yet" in line
    said, _ = watching.communicate(timeout=30)
    assert watching.returncode == COMPLETE
    assert "finished" in said.splitlines()[-1]


def test_nothing_is_written(out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.parent.iterdir()}
    assert lossgrid("watch", out).returncode == COMPLETE
    assert {path: path.stat().st_mtime_ns for path in out.parent.iterdir()} == before


def test_a_file_that_is_replaced_is_gone_on_with(out: Path, tmp_path: Path) -> None:
    watched = Watched(out, None)
    with RunLock(out):
        first = watched.look()
    assert first is not None
    assert (first.points, watched.news) == (35, "")
    assert run(tmp_path / "toy.yaml", ["grid.alpha.points=3"], overwrite=True) == COMPLETE
    second = watched.look()
    assert second is not None
    assert (second.points, second.done) == (15, 15)
    assert watched.news.startswith("replaced by a new file at ")


def test_a_file_that_is_removed_ends_it(out: Path) -> None:
    watched = Watched(out, None)
    with RunLock(out):
        watched.look()
        out.unlink()
        with pytest.raises(UserError, match="has been removed while it was watched"):
            watched.look()


def test_the_recent_rate(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last minute, or of all looks while there are none as old."""
    clock = [0.0]
    monkeypatch.setattr(watches.time, "monotonic", lambda: clock[0])
    watched = Watched(out, None)
    rates = []
    with RunLock(out):
        RunLog(out).event("start", left=0, tries=0, ranks=1, host="here")
        for clock[0], tries in ((0.0, 1), (10.0, 2), (20.0, 3), (70.0, 3), (80.0, 5)):
            with h5py.File(out, "r+") as file:
                file["lossgrid/points/attempt"][...] = tries
            status = watched.look()
            assert status is not None
            assert status.work is not None
            rates.append(status.work.recent_points_per_second)
    assert rates == [None, 3.5, 3.5, pytest.approx(35 / 60), pytest.approx(70 / 60)]


def test_nothing_heavy_is_loaded(out: Path) -> None:
    heavy = ("torch", "mpi4py", "matplotlib", "vtk", "vtkmodules", "pydantic", "scipy")
    code = (
        f"import sys; sys.argv = ['lossgrid', 'watch', {str(out)!r}]\n"
        "from lossgrid.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stderr.strip() == "[]"

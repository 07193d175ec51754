from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lossgrid.errors import UserError
from lossgrid.store import lock
from lossgrid.store.lock import STALE_SECONDS, RunLock, is_alive, read_holder
from lossgrid.store.log import RunLog

HOLDER = (
    "import sys; from pathlib import Path; from lossgrid.store.lock import RunLock\n"
    "with RunLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "r.vtkhdf"


def lock_file(output: Path) -> Path:
    return output.with_name("r.vtkhdf.lock")


def holding(output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(output)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_leaves_nothing_behind(output: Path) -> None:
    with RunLock(output):
        holder = read_holder(output)
        assert holder is not None
        assert holder["pid"] == os.getpid()
        assert is_alive(holder)
    assert not list(output.parent.iterdir())
    assert read_holder(output) is None


def test_a_second_run_is_refused_by_name(output: Path) -> None:
    with holding(output) as first:
        with (
            pytest.raises(UserError, match=f"another run is working.*process {first.pid}"),
            RunLock(output, patience=0.2),
        ):
            pass
        first.communicate("")
    with RunLock(output, patience=0.2):
        pass


def test_a_killed_holder_frees_the_lock(output: Path) -> None:
    with holding(output) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert lock_file(output).exists()
    assert not is_alive(read_holder(output))
    with RunLock(output, patience=0.2):
        pass
    assert not lock_file(output).exists()


def test_a_dying_holder_is_waited_for(output: Path) -> None:
    with holding(output) as first:
        stopper = f"import os, time; time.sleep(0.5); os.kill({first.pid}, 9)"
        with subprocess.Popen([sys.executable, "-c", stopper]):
            began = time.monotonic()
            with RunLock(output, patience=20):
                assert time.monotonic() - began > 0.2


def elsewhere(output: Path, age: float, job: str | None = None) -> None:
    """A heartbeat of another host, whose lock does not reach here."""
    output.parent.mkdir(exist_ok=True)
    now = time.time()
    beat = {"host": "far", "pid": 1, "slurm_job": job, "boot": "far", "power_lost": False}
    beat |= {"began": now - 1000, "time": now - age}
    handle = os.open(lock_file(output), os.O_WRONLY | os.O_CREAT)
    os.pwrite(handle, json.dumps(beat).ljust(512).encode(), 0)  # as the real one: never torn
    os.close(handle)


def test_a_kill_is_no_power_loss(output: Path) -> None:
    with holding(output) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    with RunLock(output, patience=0.2) as lock_:
        assert not lock_.power_lost


def test_a_holder_from_before_the_machine_started_is(output: Path) -> None:
    with holding(output) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    signature = json.loads(lock_file(output).read_text())
    lock_file(output).write_text(json.dumps({**signature, "boot": "an earlier one"}))
    with holding(output) as second:  # killed before it could see to the consequences
        os.kill(second.pid, signal.SIGKILL)
        second.wait()
    for _ in range(2):  # the first of them has ended by itself, but changed nothing
        with RunLock(output, patience=0.2) as lock_:
            assert lock_.power_lost
    assert not is_alive(read_holder(output))
    with RunLock(output, patience=0.2) as lock_:
        lock_.forget_power_loss()
    assert not lock_file(output).exists()
    with RunLock(output, patience=0.2) as lock_:
        assert not lock_.power_lost


def test_the_evidence_of_a_power_loss_keeps_nobody_off(output: Path) -> None:
    elsewhere(output, age=STALE_SECONDS + 1)
    with RunLock(output, patience=0.1):
        pass
    ended = json.loads(lock_file(output).read_text())
    lock_file(output).write_text(json.dumps({**ended, "host": "far"}))
    with RunLock(output, patience=0.1) as lock_:
        assert lock_.power_lost


@contextmanager
def beating_elsewhere(output: Path, job: str | None = None) -> Iterator[None]:
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.05):
            elsewhere(output, 0, job)

    elsewhere(output, 0, job)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_heartbeat_of_another_host_keeps_us_off(output: Path) -> None:
    with (
        beating_elsewhere(output),
        pytest.raises(UserError, match=r"another run is working.*on far"),
        RunLock(output, patience=0.1),
    ):
        pass


def test_a_heartbeat_that_has_stopped_is_waited_for(output: Path) -> None:
    """Its run may have been killed a moment ago; the same command must not be refused."""
    elsewhere(output, age=STALE_SECONDS - 0.7)
    told: list[str] = []
    began = time.monotonic()
    with RunLock(output, told.append, patience=0.1):
        assert time.monotonic() - began > 0.3
    assert told == ["waiting up to 60 s for a sign of life on far (process 1)"]


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems."""

    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_the_heartbeat_keeps_others_off(output: Path) -> None:
    with holding(output) as first:
        with (
            pytest.raises(UserError, match=f"another run is working.*process {first.pid}"),
            RunLock(output, patience=0.2),
        ):
            pass
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    with RunLock(output, patience=0.2):
        pass


@pytest.mark.usefixtures("without_locks")
def test_without_locks_the_last_to_sign_wins(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: elsewhere(output, age=0))
    with pytest.raises(UserError, match="on far"), RunLock(output, patience=0.0):
        pass


def test_a_stale_heartbeat_does_not(output: Path) -> None:
    elsewhere(output, age=STALE_SECONDS + 1)
    with RunLock(output, patience=0.1):
        pass


def test_the_same_slurm_job_takes_over(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(output, age=1, job="77")
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    with pytest.raises(UserError), beating_elsewhere(output, "77"), RunLock(output, patience=0.1):
        pass
    elsewhere(output, age=1, job="77")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with RunLock(output, patience=0.1):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 3}', "null"])
def test_a_broken_heartbeat_is_nobody(text: str, output: Path) -> None:
    output.parent.mkdir()
    lock_file(output).write_text(text)
    assert read_holder(output) is None
    with RunLock(output, patience=0.1):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with (
        pytest.raises(UserError, match="can't write the results there"),
        RunLock(tmp_path / "out" / "deep" / "r.vtkhdf"),
    ):
        pass


def test_the_log_passes_over_a_torn_line(output: Path) -> None:
    output.parent.mkdir()
    log = RunLog(output)
    log.event("start", done=3)
    with log.path.open("a") as file:
        file.write('{"time": 1, "eve')
        file.write("\n[1]\n")
    log.event("end")
    assert [event["event"] for event in log.events()] == ["start", "end"]


def test_a_log_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "gone" / "r.vtkhdf")
    log.event("start")
    assert list(log.events()) == []

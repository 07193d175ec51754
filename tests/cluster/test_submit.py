"""`lossgrid submit` where there need be no SLURM."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossgrid.cli import main
from lossgrid.cluster import submit
from lossgrid.cluster.queue import Queued, look_up, own_job
from tests.cluster.test_script import directives, program
from tests.toy import toy_job
from tools.slurm_examples import FOLDER, examples


@pytest.fixture
def shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs the command line, which must succeed; returns what it prints."""

    def show(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["lossgrid", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("name", examples())
def test_the_examples_say_what_rendered_them(
    name: str, shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER.parent)
    monkeypatch.setattr(submit, "mpi_family", lambda: "MPICH")
    monkeypatch.setattr(submit, "srun_plugins", lambda: {"pmi2"})
    example = examples()[name]
    (words,) = re.findall(r"^#   lossgrid (.*)$", example, re.MULTILINE)
    text = shown(*words.split(), "--dry-run")
    ours, theirs = directives(text), directives(example)
    assert [line for line in ours if "--output=" not in line] == [
        line for line in theirs if "--output=" not in line
    ]
    assert words in text


def test_a_dry_run_writes_nothing(tmp_path: Path, shown: Callable[..., str]) -> None:
    job = toy_job(tmp_path)
    before = sorted(tmp_path.iterdir())
    text = shown("submit", job, "--dry-run")
    assert sorted(tmp_path.iterdir()) == before
    script = tmp_path / "script"
    script.write_text(text)
    subprocess.run(["bash", "-n", script], check=True)
    assert f"{sys.executable} -m lossgrid run" in text  # one rank needs no launcher


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--time", "soon"], ["--time soon", "2:00:00"]),
        (["--time", "0"], ["--time 0", "no time"]),
        (["--set", "grid.alpha.points=0"], ["grid.alpha.points"]),
        (["--option", "account=physics"], ["account=physics", "such as --account="]),
        (["--option=--comment=a\nrm -r ~"], ["--comment=a", "one line"]),
        (["--partition=a\nrm -r ~"], ["--partition", "one line"]),
        (["--setup", "a\nb"], ["one line"]),
        (["--launcher", "'srun --mpi=pmix"], ["--launcher 'srun", "quot"]),
        ([], ["sbatch", "--dry-run"]),
    ],
)
def test_what_is_refused(
    options: list[str],
    words: list[str],
    tmp_path: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refused("submit", toy_job(tmp_path), *options)
    assert all(word in said for word in words)
    assert not (tmp_path / "out").exists()


def test_a_job_file_that_is_not_there(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "gone.yaml" in refused("submit", toy_job(tmp_path), tmp_path / "gone.yaml")


def test_two_jobs_that_write_one_file(tmp_path: Path, refused: Callable[..., str]) -> None:
    job = toy_job(tmp_path)
    assert "toy.vtkhdf, too" in refused("submit", job, job)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"state": "PENDING", "reason": "Priority"}, "pending (Priority)"),
        (
            {"state": "PENDING", "reason": "BeginTime", "starts": "2030-01-02T03:04:05"},
            "pending (BeginTime), to start 2030-01-02T03:04:05",
        ),
        ({"state": "RUNNING", "nodes": "n[1-4]", "left": "1:59"}, "running on n[1-4], 1:59 left"),
        ({"state": "RUNNING", "nodes": "n1"}, "running on n1"),
        ({"state": "TIMEOUT", "reason": "TimeLimit", "nodes": "n1"}, "timeout"),
        ({"state": "UNKNOWN"}, "not in the queue any more"),
    ],
)
def test_the_queue_in_words(facts: dict[str, Any], expected: str) -> None:
    assert Queued("12", **facts).text() == f"SLURM job 12: {expected}"


@pytest.mark.parametrize(
    ("squeue", "sacct", "expected"),
    [
        ("echo 'RUNNING|None|2030-01-02T03:04:05|1:59|n1'", "", "RUNNING"),
        ("echo 'Invalid job id specified' >&2; exit 1", "echo 'COMPLETED|None|x'", "COMPLETED"),
        ("", "echo 'CANCELLED by 1000|None|x'", "CANCELLED"),
        ("", "echo 'accounting storage is disabled' >&2; exit 1", "UNKNOWN"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "echo 'FAILED|None|x'", None),
        (None, "", None),
    ],
)
def test_whom_is_asked(
    squeue: str | None,
    sacct: str,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in (("squeue", squeue), ("sacct", sacct)):
        if text is not None:
            program(tmp_path / name, text)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = look_up("12")
    assert (found and found.state) == expected


def test_the_number_of_ones_own_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert own_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert own_job() == "13"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert own_job() == "12_1"

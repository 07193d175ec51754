"""A run whose words reach nobody goes on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from lossgrid.exits import COMPLETE
from lossgrid.run.progress import ProgressView
from lossgrid.store.results import read_results
from lossgrid.streams import unfailing
from tests.mpi import MPICH_WHEEL, mpirun
from tests.toy import toy_job

FULL = Path("/dev/full")
"""Writing to it fails as on a full disk."""


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python is for users: what can't be written is still there at its end."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


def broken_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("where", ["full", "closed", "none"])
def test_what_cannot_be_written_is_lost(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = None if where == "none" else FULL.open("w", buffering=1)
    if stream is not None and where == "closed":
        stream.close()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    with unfailing():
        print("one line")
        print("another", file=sys.stderr, flush=True)
        sys.stderr.writelines(["a", "b\n"])
    assert sys.stdout is sys.stderr is stream


def test_what_can_be_written_is(capsys: pytest.CaptureFixture[str]) -> None:
    with unfailing():
        print("one line")
        print("another", file=sys.stderr)
        assert not sys.stderr.isatty()
    assert capsys.readouterr() == ("one line\n", "another\n")


def test_a_bar_that_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    console = Console(stderr=True, force_terminal=True)
    with unfailing(), ProgressView(10, 0, console) as view:
        view.tick()
        print("of the user", file=sys.stderr)


@pytest.mark.parametrize("broken", ["full", "pipe"])
def test_a_run_that_nobody_hears_completes(broken: str, tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:talkative", metrics=["loss"])
    with (tmp_path / "toy.py").open("a") as code:
        code.write(
            "def talkative(outputs, targets):\n"
            "    print('x' * 1000, flush=True)\n"
            "    return outputs.square().mean(dim=1)\n"
        )
    command = [sys.executable, "-m", "lossgrid", "run", str(job)]
    stream = os.open(FULL, os.O_WRONLY) if broken == "full" else broken_pipe()
    done = subprocess.run(command, stdout=stream, stderr=stream, timeout=120, check=False)
    os.close(stream)
    assert done.returncode == COMPLETE
    assert not read_results(tmp_path / "out" / "toy.vtkhdf").unfinished()


def test_a_sentence_that_nobody_hears_has_its_exit_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lossgrid", "run", str(tmp_path / "gone.yaml")]
    with FULL.open("w") as full:
        done = subprocess.run(command, stderr=full, timeout=120, check=False)
    assert done.returncode == 2


def test_a_rank_that_nobody_hears_ends_all_ranks(tmp_path: Path) -> None:
    """It can't say why, but leaves nobody waiting."""
    script = tmp_path / "failing.py"
    script.write_text(
        "import os, sys\n"
        "import lossgrid.run.sharing\n"
        "def load(*arguments):\n"
        "    raise RuntimeError('broken')\n"
        "if os.environ['PMI_RANK'] == '1':\n"
        "    sys.stderr = open('/dev/full', 'w', buffering=1)\n"
        "    lossgrid.run.sharing.load = load\n"
        "from lossgrid.cli import main\n"
        "main()\n"
    )
    done = mpirun(MPICH_WHEEL, 2, [script, "run", toy_job(tmp_path)], timeout=60)
    assert done.returncode != 0

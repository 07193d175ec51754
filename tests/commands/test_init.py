"""`lossgrid init`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from lossgrid.cli import commands
from lossgrid.exits import COMPLETE
from lossgrid.job import read_job
from lossgrid.models import resnet20
from lossgrid.run.steps import run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str) -> str:
    done = CliRunner().invoke(commands, ["init", *words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("kwargs", [{}, {"shortcut": "B"}])
def test_a_network_of_ours_is_recognized(folder: Path, kwargs: dict[str, str]) -> None:
    torch.save(resnet20(**kwargs).state_dict(), "trained.pt")
    said = init("trained.pt", "--data", "test=lossgrid.data:digits", "--line", "--points", "7")
    assert "fits lossgrid.models:resnet20" in said
    job = read_job(folder / "job.yaml")
    assert job.model.kwargs == kwargs
    assert job.grid.beta is None
    assert job.grid.alpha.points == 7
    assert job.model.checkpoint == folder / "trained.pt"
    assert not Path("mymodel.py").exists()


def test_the_code_of_a_stranger_is_filled_in_and_runs(folder: Path) -> None:
    torch.save(nn.Linear(4, 3).state_dict(), "trained.pt")
    said = init("trained.pt", "--points", "3")
    assert "weight (3, 4)" in said
    code = Path("mymodel.py").read_text()
    failed = CliRunner().invoke(commands, ["plan", "job.yaml"])
    assert failed.exit_code == 2
    assert "build your network here" in failed.stderr
    code = code.replace(
        'raise NotImplementedError("build your network here")', "return nn.Linear(4, 3)"
    ).replace(
        'raise NotImplementedError("load your data here")',
        "import torch; return torch.randn(9, 4), torch.randint(3, (9,))",
    )
    Path("own.py").write_text(code)
    Path("job.yaml").write_text(Path("job.yaml").read_text().replace("mymodel.py", "own.py"))
    assert run(folder / "job.yaml") == COMPLETE


@pytest.mark.parametrize("name", ["run #3.pt", "a: b.pt", "[x].pt", "*best.pt", "null", "a b.pt"])
def test_names_that_yaml_reads_otherwise(folder: Path, name: str) -> None:
    torch.save(resnet20().state_dict(), name)
    init(name, "--data", "test=lossgrid.data:digits")
    assert read_job(folder / "job.yaml").model.checkpoint == folder / name


def test_nothing_is_overwritten_or_left_half_done(folder: Path) -> None:
    torch.save(nn.Linear(4, 3).state_dict(), "trained.pt")
    wrong = CliRunner().invoke(commands, ["init", "trained.pt", "--factory", "nothing"])
    assert wrong.exit_code == 2
    assert "model.factory: found 'nothing'" in wrong.stderr
    assert {path.name for path in folder.iterdir()} == {"trained.pt"}
    init("trained.pt")
    before = Path("job.yaml").read_text()
    again = CliRunner().invoke(commands, ["init", "trained.pt"])
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    assert Path("job.yaml").read_text() == before
    Path("job.yaml").unlink()
    told = CliRunner().invoke(commands, ["init", "trained.pt", "--data", "test=mymodel.py:test"])
    assert "mymodel.py: is there already; name the functions in it (--fact" in told.stderr
    assert "--data" not in told.stderr
    assert CliRunner().invoke(commands, ["init", "trained.pt", "--data", "x"]).exit_code == 2

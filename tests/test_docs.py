"""What the users' page says must be so."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from lossgrid.exits import COMPLETE
from lossgrid.job import Job, Training
from lossgrid.run.steps import run

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "jobs.md").read_text()


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("file", [Job, Training])
def test_every_key_is_explained(file: type[BaseModel]) -> None:
    schema = file.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        for name, key in section["properties"].items():
            assert "description" in key or "$ref" in key, (section["title"], name)
        assert "description" in section


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's job and code, with a checkpoint."""
    import torch

    code, _, _ = blocks("python")
    (tmp_path / "mymodel.py").write_text(code)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    torch.save({"model": namespace["build"](2).state_dict()}, tmp_path / "trained.pt")
    job = yaml.safe_load(blocks("yaml")[0])
    job["model"]["expect"] = {}
    job["data"]["test"]["samples"] = 50
    job["metrics"].append("mymodel.py:margin")
    for axis in job["grid"].values():
        axis["points"] = 5
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(job))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_job_runs_and_its_results_are_read(folder: Path) -> None:
    assert run(folder / "mine.yaml") == COMPLETE
    found: dict[str, Any] = {}
    exec(blocks("python")[2], found)
    assert found["loss"].shape == (5, 5)
    metrics = {"test_loss", "test_accuracy", "test_margin", "test_loss_se_data"}
    assert set(found["results"].values) == metrics


def test_a_direction_file_is_used(folder: Path) -> None:
    code, write, _ = blocks("python")
    exec(code + textwrap.dedent(write), {})
    settings = ["grid.beta=null", "directions={kind: file, path: d.h5}", "model.kwargs={}"]
    shutil.move(folder / "trained.pt", folder / "other.pt")
    assert run(folder / "mine.yaml", [*settings, "model.checkpoint=null"]) == COMPLETE


def test_minima_are_found_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python", (DOCS / "measures.md").read_text())
    exec(code, {})
    assert f"# {capsys.readouterr().out.strip()}" in code

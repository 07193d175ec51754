"""The JSON schema of job files: what editors know of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from lossgrid.cli import commands
from lossgrid.job import plainyaml

JOBS = Path(__file__).resolve().parents[2] / "jobs"
FILES = sorted(JOBS.rglob("*.yaml"))


def validator(*words: str) -> Draft202012Validator:
    done = CliRunner().invoke(commands, ["schema", *words])
    assert done.exit_code == 0
    schema = json.loads(done.output)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def settings(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = plainyaml.parse(path.read_text())
    return found


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(JOBS)) for path in FILES])
def test_every_file_of_ours_fits(path: Path) -> None:
    content = settings(path)
    kind = [] if "grid" in content else ["--training"]
    assert list(validator(*kind).iter_errors(content)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"gird": {}},
        {"grid": {"alpha": {"min": -1, "max": 1}}},
        {"evaluation": {"precision": "float16"}},
        {"directions": {"kind": "sideways"}},
        {"model": {}},
    ],
)
def test_what_is_wrong_does_not(wrong: dict[str, Any]) -> None:
    content = settings(JOBS / "digits.yaml")
    assert list(validator().iter_errors(content | wrong))
    del content["grid"]
    assert list(validator().iter_errors(content))


def test_what_is_filled_in_may_be_left_out() -> None:
    content = settings(JOBS / "digits.yaml")
    del content["output"], content["metrics"], content["directions"]
    assert list(validator().iter_errors(content)) == []
    content["directions"] = {"kind": "between", "checkpoints": "other.pt"}
    assert list(validator().iter_errors(content)) == []

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lossgrid.errors import UserError
from lossgrid.job import Job
from lossgrid.problem import load_problem, prepare_checkpoint, read_checkpoint
from tests.job.jobs import minimal, read

SOURCE = """
import torch
from torch import nn

def net(): return nn.Linear(2, 2)
def data(): return torch.ones(3, 2), torch.zeros(3, dtype=torch.int64)
def train(model):
    with torch.no_grad():
        model.bias.copy_(torch.rand(2))
        model.weight.fill_(3)
def fail(model): raise RuntimeError("no luck")
def diverge(model): nn.init.constant_(model.bias, float("inf"))
"""


def job(folder: Path, **model: Any) -> Job:
    (folder / "my.py").write_text(SOURCE)
    settings = minimal(
        model={"factory": "my.py:net", "checkpoint": "out/a.pt", **model},
        data={"test": {"factory": "my.py:data"}},
    )
    return read(folder, settings)


def test_trains_saves_and_is_done(tmp_path: Path) -> None:
    torch.manual_seed(1)
    assert prepare_checkpoint(job(tmp_path, recipe="my.py:train"))
    saved = read_checkpoint(tmp_path / "out" / "a.pt")
    assert torch.equal(saved["weight"], torch.full((2, 2), 3.0))
    content = (tmp_path / "out" / "a.pt").read_bytes()
    assert not prepare_checkpoint(job(tmp_path, recipe="my.py:train"))
    assert (tmp_path / "out" / "a.pt").read_bytes() == content
    model = load_problem(job(tmp_path)).build_model()
    assert torch.equal(model.get_parameter("bias"), saved["bias"])


def test_training_starts_from_a_fixed_seed(tmp_path: Path) -> None:
    biases = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        prepare_checkpoint(job(tmp_path, recipe="my.py:train", checkpoint=f"{seed}.pt"))
        biases.append(read_checkpoint(tmp_path / f"{seed}.pt")["bias"])
    assert torch.equal(*biases)


def test_nothing_to_do_without_recipe(tmp_path: Path) -> None:
    assert not prepare_checkpoint(job(tmp_path))
    with pytest.raises(UserError, match=r"a\.pt does not exist"):
        load_problem(job(tmp_path))


def test_an_existing_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.pt").write_bytes(b"precious")
    assert not prepare_checkpoint(job(tmp_path, recipe="my.py:train"))
    assert (tmp_path / "out" / "a.pt").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("fail", r"model\.recipe 'my\.py:fail' raised RuntimeError: no luck"),
        ("diverge", r"model\.recipe 'my\.py:diverge' .*not finite \(bias\)"),
        ("none", "has no 'none'"),
    ],
)
def test_failures_leave_no_checkpoint(tmp_path: Path, recipe: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        prepare_checkpoint(job(tmp_path, recipe=f"my.py:{recipe}"))
    assert not (tmp_path / "out").exists()

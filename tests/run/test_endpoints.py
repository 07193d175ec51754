"""Where checkpoints span a line or a plane, it has their own losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lossgrid.exits import COMPLETE
from lossgrid.problem import load_callable
from lossgrid.run.steps import run
from tests.runs import results
from tests.toy import toy_job

FILES = ["a.pt", "b.pt", "c.pt"]
NORMED = """

def normed():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
"""
AXIS = {"min": -0.5, "max": 1, "points": 4}
ZERO, ONE = 1, 3
"""Indices of these coordinates."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three solutions, whose BatchNorm has statistics of its own in each."""
    for number, name in enumerate(FILES):
        torch.manual_seed(number)
        network = normed()
        network[1].running_mean.normal_()
        network[1].running_var.uniform_(0.5, 2)
        torch.save(network.state_dict(), tmp_path / name)
    return tmp_path


def normed() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def job(folder: Path, checkpoint: str, **sections: Any) -> Path:
    path = toy_job(folder, model={"factory": "toy.py:normed", "checkpoint": checkpoint}, **sections)
    (folder / "toy.py").write_text((folder / "toy.py").read_text() + NORMED)
    return path


def by_torch(folder: Path, file: str) -> float:
    network = normed().eval()
    network.load_state_dict(torch.load(folder / file, weights_only=True))
    inputs, targets = load_callable("toy.py:data", folder)()
    with torch.no_grad():
        return nn.functional.cross_entropy(network(inputs), targets).item()


@pytest.mark.parametrize("network", ["auto", "plain"])
@pytest.mark.parametrize("beta", [None, AXIS])
def test_ends_have_the_checkpoints_own_losses(folder: Path, beta: Any, network: str) -> None:
    """To the bit, those at theta of the jobs that begin at each checkpoint; and those of torch."""
    grid = {"alpha": AXIS, **({} if beta is None else {"beta": beta})}
    files = FILES if beta else FILES[:2]
    places = [(ZERO, ZERO), (ZERO, ONE), (ONE, ZERO)] if beta else [(ZERO,), (ONE,)]

    def losses(theta: str) -> np.ndarray:
        ends = [file for file in files if file != theta]
        spec = {"kind": "between", "checkpoints": ends, "include": "state"}
        path = job(folder, theta, directions=spec, grid=grid, evaluation={"network": network})
        assert run(path, overwrite=True) == COMPLETE
        return results(folder).values["train_loss"]

    spanned = losses(files[0])
    for file, place in zip(files, places, strict=True):
        own = losses(file)[places[0]]
        assert spanned[place] == own
        assert own == pytest.approx(by_torch(folder, file), rel=1e-6)

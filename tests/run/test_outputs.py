"""Networks that return more than one tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lossgrid.exits import COMPLETE
from lossgrid.run.steps import run
from tests.runs import results
from tests.toy import toy_job

MODELS = """
from dataclasses import dataclass
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.inner = kind, nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        logits = self.inner(x)
        match self.kind:
            case "tensor":
                return logits
            case "dict":
                return {"hidden": x, "logits": logits}
            case "tuple":
                return x, logits
            case _:
                return Answer(logits, x)


def of_last(outputs, targets):
    return F.cross_entropy(outputs[-1], targets, reduction="none")
"""


@pytest.mark.parametrize(
    ("kind", "loss"),
    [("dict", "cross_entropy"), ("dataclass", "cross_entropy"), ("tuple", "nets.py:of_last")],
)
def test_the_loss_gets_all_of_it(kind: str, loss: str, tmp_path: Path) -> None:
    found = {}
    for one, by in {"tensor": "cross_entropy", kind: loss}.items():
        folder = tmp_path / one
        folder.mkdir()
        (folder / "nets.py").write_text(MODELS)
        model = {"factory": "nets.py:Net", "kwargs": {"kind": one}}
        assert run(toy_job(folder, model=model, loss=by, metrics=["loss"])) == COMPLETE
        found[one] = results(folder).values["train_loss"]
    assert np.allclose(found[kind], found["tensor"], rtol=1e-6, atol=0)

"""The examples run, and models of other packages have their own values."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import lossgrid
from tests.mpi import ROOT

EXAMPLES = ROOT / "examples"
FIGURES = {
    "regression": ["regression.png"],
    "transformer": ["transformer.png"],
    "lora": ["lora.png"],
    "graphs": ["graphs.png"],
    "in_training": [f"in-training/epoch-00{epoch}.vtkhdf" for epoch in (2, 4, 6)],
}


def test_there_is_a_test_of_each() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == FIGURES.keys()


@pytest.mark.parametrize("name", FIGURES)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / "out" / figure).exists() for figure in FIGURES[name])


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return {name: runpy.run_path(str(EXAMPLES / f"{name}.py")) for name in ("transformer", "lora")}


def own_loss(model: Any, inputs: Any, targets: Any) -> float:
    """By the model's own code: it averages over tokens, so text by text."""
    losses = []
    with torch.no_grad():
        for row in range(len(targets)):
            own = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
            losses.append(float(model(**own, labels=targets[row : row + 1]).loss))
    return sum(losses) / len(losses)


def test_a_language_model_has_its_own_loss(code: dict[str, dict[str, Any]]) -> None:
    model, (inputs, targets) = (
        code["transformer"]["language_model"](),
        code["transformer"]["texts"](),
    )
    surface = lossgrid.landscape(
        model, (inputs, targets), loss="next_token", points=3, progress=False
    )
    assert surface["train_loss"][1, 1] == pytest.approx(
        own_loss(model.eval(), inputs, targets), rel=1e-5
    )


def test_only_the_adapter_moves(code: dict[str, dict[str, Any]]) -> None:
    """A point off theta is the model whose adapter alone has moved."""
    import h5py

    model, (inputs, targets) = code["lora"]["adapted"](), code["transformer"]["texts"]()
    surface = lossgrid.landscape(
        model,
        (inputs, targets),
        loss="next_token",
        points=3,
        progress=False,
        directions={"parameters": "*lora*"},
    )
    with h5py.File(surface.path) as file:
        names: list[str] = []
        group = file["lossgrid/directions/x"]
        group.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        assert names
        assert all("lora" in name for name in names)
        moved = dict(model.named_parameters())
        with torch.no_grad():
            for name in names:
                moved[name] += torch.from_numpy(group[name][...])
    expected = own_loss(model.eval(), inputs, targets)
    assert surface["train_loss"][1, 2] == pytest.approx(expected, rel=1e-5)
    assert surface["train_loss"][1, 2] != pytest.approx(surface["train_loss"][1, 1], rel=1e-7)

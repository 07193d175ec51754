from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lossgrid.errors import UserError
from lossgrid.job import read_training
from tests.train.toy import toy_training


def test_what_is_left_out(tmp_path: Path) -> None:
    settings = yaml.safe_load(toy_training(tmp_path).read_text())
    needed = {"model", "data", "optimizer", "batch_size", "epochs"}
    file = tmp_path / "few.yaml"
    file.write_text(yaml.safe_dump({key: settings[key] for key in needed}))
    training = read_training(file)
    assert training.output == tmp_path / "out" / "few"
    assert training.learning_rate(10_000) == 0.05
    assert training.augmentation.model_dump() == {"crop": 0, "flip": False}
    assert training.optimizer.momentum == 0.9
    assert training.optimizer.nesterov
    assert training.columns == ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    assert training.every == 1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["grid.alpha.points=5"], "unknown key"),
        (["optimizer.learning_rate=0"], "optimizer.learning_rate: found 0, expected a number > 0"),
        (["optimizer.kind=lbfgs"], "optimizer.kind: found 'lbfgs', expected 'sgd' or 'adam'"),
        (["optimizer.kind=adam", "optimizer.momentum=0.9"], "only applies to kind: sgd"),
        (["optimizer.momentum=1"], "optimizer.momentum: found 1, expected a number from 0"),
        (["optimizer.momentum=0"], "optimizer.nesterov: needs momentum"),
        (["optimizer.weight_decay=-1"], "optimizer.weight_decay: found -1, expected a number >= 0"),
        (["schedule.milestones=[0]"], "schedule.milestones.0: found 0, expected an integer >= 1"),
        (["schedule.milestones=150"], "schedule.milestones: found 150, expected a list"),
        (["augmentation.crop=-4"], "augmentation.crop: found -4"),
        (["augmentation.flip=1"], "augmentation.flip: found 1, expected true or false"),
        (["batch_size=0"], "batch_size: found 0, expected an integer >= 1"),
        (["epochs=many"], "epochs: found 'many'"),
        (["data={train: {factory: net.py:data}}"], "data.test: is required, but missing"),
        (["model.checkpoint=a.pt"], "model.checkpoint: unknown key"),
        (["compute.precision=float16"], "compute.precision: found 'float16'"),
        (["compute.threads=100000"], "compute.threads: found 100000, expected auto or an integer"),
    ],
)
def test_refusals(tmp_path: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(UserError) as refused:
        read_training(toy_training(tmp_path), overrides)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("settings", [{}, {"milestones": [150, 225, 275]}, {"milestones": [1, 2]}])
def test_the_learning_rate_is_that_of_torch(tmp_path: Path, settings: dict[str, Any]) -> None:
    training = read_training(toy_training(tmp_path, schedule=settings))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.05)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, settings.get("milestones", []))
    assert training.learning_rate(0) == 0.05
    for epoch in range(1, 301):
        assert training.learning_rate(epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

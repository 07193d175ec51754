from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossgrid.data import ImageNormalization, Split
from lossgrid.job import Training, read_training
from lossgrid.models import digits_cnn
from lossgrid.problem.losses import accuracy, cross_entropy
from lossgrid.train.draws import draw
from lossgrid.train.trainer import Task, Trainer
from tests.train.toy import toy_training

CPU = torch.device("cpu")


def settings(folder: Path, **changes: Any) -> Training:
    return read_training(toy_training(folder, **changes))


def digits_like(samples: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(17, (samples, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (samples,), generator=generator)
    return Split(images, labels, ImageNormalization((0.0,), (1.0,), 16.0))


TASK = Task(
    digits_like(70, 0),
    digits_like(30, 1),
    cross_entropy,
    {"loss": cross_entropy, "accuracy": accuracy},
)


def trained(training: Training, epochs: int) -> tuple[nn.Module, list[dict[str, float]]]:
    torch.manual_seed(0)
    model = digits_cnn()
    trainer = Trainer(training, model, TASK, CPU)
    rows = []
    for _ in range(epochs):
        for _ in trainer.steps():
            pass
        rows.append(trainer.finish())
    return model, rows


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (
            {"learning_rate": 0.05, "weight_decay": 5e-4},
            lambda weights: torch.optim.SGD(
                weights, 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
            ),
        ),
        (
            {"learning_rate": 0.05, "momentum": 0, "nesterov": False},
            lambda weights: torch.optim.SGD(weights, 0.05),
        ),
        (
            {"kind": "adam", "learning_rate": 0.01, "weight_decay": 5e-4},
            lambda weights: torch.optim.Adam(weights, 0.01, weight_decay=5e-4),
        ),
    ],
)
def test_trains_as_a_plain_loop(tmp_path: Path, spec: dict[str, Any], reference: Any) -> None:
    """torch's own scheduler and optimizer, images in torch's own order of memory."""
    training = settings(tmp_path, optimizer=spec, augmentation={})
    model, rows = trained(training, 4)

    torch.manual_seed(0)
    plain = digits_cnn()
    optimizer = reference(plain.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2], gamma=0.1)
    images, labels = TASK.train.batch(0, 70, torch.float32)
    for epoch, row in enumerate(rows, 1):
        rate = optimizer.param_groups[0]["lr"]
        loss, right = 0.0, 0
        plain.train()
        for batch in draw(training.seed, epoch, 70, 5, 0).order.split(16):
            outputs = plain(images[batch])
            mean = F.cross_entropy(outputs, labels[batch])
            optimizer.zero_grad()
            torch.autograd.backward(mean)
            optimizer.step()
            loss += mean.item() * len(batch)
            right += int((outputs.argmax(1) == labels[batch]).sum())
        schedule.step()
        plain.eval()
        with torch.no_grad():
            inputs, targets = TASK.test.batch(0, 30, torch.float32)
            test = float(F.cross_entropy(plain(inputs), targets))
        assert row["epoch"] == epoch
        assert row["learning_rate"] == pytest.approx(rate)
        assert row["train_loss"] == pytest.approx(loss / 70, rel=1e-4)
        assert row["train_accuracy"] == pytest.approx(right / 70)
        assert row["test_loss"] == pytest.approx(test, rel=1e-3)
    for name, weight in plain.state_dict().items():
        assert torch.allclose(model.state_dict()[name], weight, rtol=1e-3, atol=1e-4), name


def test_augmentation_changes_what_is_trained_on_only(tmp_path: Path) -> None:
    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)
            self.batches: dict[bool, list[torch.Tensor]] = {True: [], False: []}

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.batches[self.training].append(images.clone())
            output: torch.Tensor = self.linear(images.flatten(1))
            return output

    training = settings(tmp_path, augmentation={"crop": 2, "flip": True})
    model = Seen()
    trainer = Trainer(training, model, TASK, CPU)
    for _ in trainer.steps():
        pass
    trainer.finish()
    tested = torch.cat(model.batches[False])
    assert torch.equal(tested, TASK.test.batch(0, 30, torch.float32)[0])
    drawn = draw(0, 1, 70, 5, 2)
    before = TASK.train.batch(0, 70, torch.float32)[0][drawn.order]
    seen = torch.cat(model.batches[True])
    assert seen.shape == before.shape
    for image, original, y, x, swapped in zip(
        seen, before, drawn.top, drawn.left, drawn.mirrored, strict=True
    ):
        window = F.pad(original, (2,) * 4)[:, y : y + 8, x : x + 8]
        assert torch.equal(image, window.flip(2) if swapped else window)


@pytest.mark.parametrize(
    ("samples", "sizes"), [(33, [16, 17]), (34, [16, 16, 2]), (32, [16, 16]), (5, [5])]
)
def test_a_single_sample_joins_the_last_batch(
    tmp_path: Path, samples: int, sizes: list[int]
) -> None:
    """BatchNorm can't normalize it alone."""
    seen: list[int] = []
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    model.register_forward_pre_hook(
        lambda module, inputs: seen.append(len(inputs[0])) if module.training else None
    )
    task = replace(TASK, train=digits_like(samples, 2))
    trainer = Trainer(settings(tmp_path, augmentation={}), model, task, CPU)
    for _ in trainer.steps():
        pass
    trainer.finish()
    assert seen == sizes
    assert trainer.batches == len(sizes)


def test_a_snapshot_in_the_middle_of_an_epoch_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    training = settings(tmp_path)
    expected, rows = trained(training, 2)
    torch.manual_seed(0)
    first = Trainer(training, digits_cnn(), TASK, CPU)
    steps = first.steps()
    for _ in range(3):
        next(steps)
    kept = copy.deepcopy(first.snapshot())
    torch.manual_seed(99)
    model = digits_cnn()
    second = Trainer(training, model, TASK, CPU)
    second.restore(kept)
    found = []
    for _ in range(2):
        for _ in second.steps():
            pass
        found.append(second.finish())
    assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in rows]
    for name, weight in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)


def test_bfloat16_is_near(tmp_path: Path) -> None:
    exact, rows = trained(settings(tmp_path, augmentation={}), 2)
    compute = {"threads": 1, "precision": "bfloat16"}
    low, found = trained(settings(tmp_path, augmentation={}, compute=compute), 2)
    assert found[0]["train_loss"] == pytest.approx(rows[0]["train_loss"], rel=0.02)
    assert found[0]["train_loss"] != rows[0]["train_loss"]
    weights = low.state_dict()
    assert all(weight.dtype == weights[name].dtype for name, weight in exact.state_dict().items())

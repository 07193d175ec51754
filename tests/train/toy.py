"""A training run of moments: small images, a network with BatchNorm and dropout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

USER_CODE = '''
import time
import torch
from torch import nn


def model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(4 * 4 * 4, 3),
    )


class Slow(nn.Sequential):
    """So that a signal comes in the middle of an epoch."""

    def forward(self, images):
        time.sleep(0.02)
        return super().forward(images)


def slow():
    return Slow(*model())


def data(samples=50):
    generator = torch.Generator().manual_seed(samples)
    images = torch.rand(samples, 1, 6, 6, generator=generator)
    return images, torch.randint(3, (samples,), generator=generator)


def vectors():
    return torch.rand(50, 16), torch.zeros(50, dtype=torch.int64)


def linear():
    return nn.Linear(16, 3)


def picky(outputs, targets):
    if len(outputs) > 2:  # passes the trial on two samples
        raise ValueError("too many")
    return outputs[:, 0]


def unbounded(outputs, targets):
    return outputs.square().sum(dim=1) * float("inf")
'''


def toy_training(folder: Path, **changes: Any) -> Path:
    """Write the training file and its code into a folder; `changes` replace top-level keys."""
    (folder / "net.py").write_text(USER_CODE)
    settings = {
        "output": "out",
        "model": {"factory": "net.py:model"},
        "data": {
            "train": {"factory": "net.py:data"},
            "test": {"factory": "net.py:data", "kwargs": {"samples": 20}},
        },
        "optimizer": {"learning_rate": 0.05, "weight_decay": 5e-4},
        "schedule": {"milestones": [2]},
        "augmentation": {"crop": 1, "flip": True},
        "batch_size": 16,
        "epochs": 4,
        "compute": {"threads": 1},
    }
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(settings | changes))
    return path


def checkpoints(folder: Path) -> dict[str, Any]:
    """What the files epoch-<n>.pt of a folder hold, by name."""
    return {
        path.name: torch.load(path, weights_only=True) for path in sorted(folder.glob("epoch-*.pt"))
    }


def assert_same_bits(folder: Path, other: Path) -> None:
    """Every checkpoint and every figure of the table, but for how long it took."""
    found, expected = checkpoints(folder), checkpoints(other)
    assert found.keys() == expected.keys()
    for name, checkpoint in expected.items():
        assert found[name].keys() == checkpoint.keys()
        assert found[name]["epoch"] == checkpoint["epoch"]
        assert found[name]["learning_rate"] == checkpoint["learning_rate"]
        assert found[name]["state_dict"].keys() == checkpoint["state_dict"].keys()
        for key, tensor in checkpoint["state_dict"].items():
            assert torch.equal(found[name]["state_dict"][key], tensor), (name, key)
    assert table(folder) == table(other)


def table(folder: Path) -> list[str]:
    """The lines of the table, without the last column, which is the time."""
    lines = (folder / "metrics.csv").read_text().splitlines()
    return [line.rpartition(",")[0] for line in lines]

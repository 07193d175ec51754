"""The same network, data and directions give the values of other tools."""

from __future__ import annotations

from pathlib import Path

import loss_landscapes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loss_landscapes.metrics import Loss
from torch import Tensor, nn

import lossgrid

STEPS = 6


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(60, 5, generator=generator)
    return inputs, torch.randint(3, (60,), generator=generator)


def checkpoints(folder: Path, seeds: tuple[int, ...]) -> list[str]:
    paths = [folder / f"{seed}.pt" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        torch.save(network(seed).state_dict(), path)
    return [str(path) for path in paths]


def test_a_line_of_loss_landscapes(tmp_path: Path) -> None:
    metric = Loss(F.cross_entropy, *samples())
    theirs = loss_landscapes.linear_interpolation(
        network(0), network(1), metric, STEPS, deepcopy_model=True
    )
    ours = lossgrid.landscape(
        network(0),
        samples(),
        directions={"kind": "between", "checkpoints": checkpoints(tmp_path, (1,))},
        alpha=(0, 1 - 1 / STEPS),
        beta=None,
        points=STEPS,
        progress=False,
    )
    # It goes a step before it looks for the first time.
    assert ours["train_loss"][1:] == pytest.approx(theirs[:-1], rel=1e-5)


def test_a_plane_of_loss_landscapes(tmp_path: Path) -> None:
    metric = Loss(F.cross_entropy, *samples())
    theirs = loss_landscapes.planar_interpolation(
        network(0), network(1), network(2), metric, STEPS, deepcopy_model=True
    )
    ours = lossgrid.landscape(
        network(0),
        samples(),
        directions={"kind": "between", "checkpoints": checkpoints(tmp_path, (1, 2))},
        alpha=(0, 1 - 1 / STEPS),
        beta=(0, 1),
        points=(STEPS, STEPS + 1),
        progress=False,
    )["train_loss"]
    # It winds its way, and looks at each turn before it has taken the step: every second column
    # lies a step further than the others.
    places = [[ours[j + (i % 2 == 0), i] for j in range(STEPS)] for i in range(STEPS)]
    assert np.array(places) == pytest.approx(theirs, rel=1e-5)

"""The same network, data and directions give the values of other tools."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
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


def as_landscaper_steps(
    model: nn.Module, directions: list[list[Tensor]], distance: float
) -> list[dict[str, Tensor]]:
    """What lies between the middle of its grid and a column half a grid, and half a step, on.

    It gives each tensor the length of the root of its size, biases too, and the whole the length of
    the weights times the distance.
    """
    scaled = [[d / d.norm() * d.numel() ** 0.5 for d in direction] for direction in directions]
    length = sum(p.square().sum() for p in model.parameters()) ** 0.5
    return [
        {
            name: (d * length * distance / sum(t.square().sum() for t in direction) ** 0.5).detach()
            for (name, _), d in zip(model.named_parameters(), direction, strict=True)
        }
        for direction in scaled
    ]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Landscaper is for Python < 3.13")
def test_a_plane_of_landscaper_and_its_file(tmp_path: Path) -> None:
    from landscaper import LossLandscape

    torch.manual_seed(3)
    model, (inputs, targets), points = network(0), samples(), 7
    directions = [[torch.randn_like(p) for p in model.parameters()] for _ in "xy"]

    def loss(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
        return float(F.cross_entropy(model(data[0]), data[1]))

    np.random.seed(0)
    theirs = LossLandscape.compute(
        model, (inputs, targets), directions, loss, points, distance=0.8, dim=2, device="cpu"
    )
    reach = (points - 1) / points
    with h5py.File(tmp_path / "directions.h5", "w") as file:
        for axis, step in zip("xy", as_landscaper_steps(model, directions, 0.8), strict=True):
            for name, values in step.items():
                file[f"lossgrid/directions/{axis}/{name}"] = values.numpy()
    ours = lossgrid.landscape(
        model,
        (inputs, targets),
        points=points,
        alpha=(-reach, reach),
        beta=(-reach, reach),
        directions={"kind": "file", "path": str(tmp_path / "directions.h5")},
        progress=False,
    )
    values = ours["train_loss"].T  # its first index is along the first direction
    rest = values < values.max()  # to the largest it adds noise
    assert rest.sum() == points**2 - 1
    assert theirs.loss[rest] == pytest.approx(values[rest], rel=1e-5)
    read = LossLandscape.load_from_npz(str(ours.save(tmp_path / "ours.npz")))
    assert np.array_equal(read.loss, ours["train_loss"])
    assert np.array_equal(read.ranges, [ours.alpha, ours.beta])
    at_end = read.coords[points - 1]  # of the first row: alpha's end, beta's beginning
    assert at_end == pytest.approx([reach, -reach])

"""The existing tools' own functions, each as a function that computes some grid points.

They are found in a folder, made by hand, that `PEERS` names:

    pip install --target $PEERS/site loss-landscapes==3.0.6 landscaper==1.3.1
    git clone https://github.com/tomgoldstein/loss-landscape $PEERS/loss-landscape
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

Contender = Callable[[], int]
"""Computes some points and returns how many."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pictures(Dataset[tuple[Tensor, int]]):
    """What the reference code's loader does: PIL images, to tensors, normalized one by one."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = np.array(Image.fromarray(self._images[index]))
        tensor = torch.from_numpy(picture).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        return tensor.sub_(mean).div_(std), int(self._labels[index])


def contenders(
    folder: Path, model: nn.Module, inputs: Tensor, labels: Tensor, pictures: Tensor | None
) -> dict[str, Contender]:
    """Peers by name, on all cores of the process.

    Args:
        folder: see above.
        model: in eval mode, on the CPU.
        inputs: as the model reads them.
        labels: classes.
        pictures: uint8 images, for the loader of the reference code.
    """
    sys.path += [str(folder / "site"), str(folder / "loss-landscape")]
    found = {}
    if pictures is not None:
        loader = DataLoader(Pictures(pictures, labels), batch_size=128, num_workers=2)
        found["reference code (its loader, 2 workers)"] = reference(model, loader)
    tensors = DataLoader(TensorDataset(inputs, labels), batch_size=128)
    found["reference code (tensors, no workers)"] = reference(model, tensors)
    steps = 1 if pictures is not None else 20
    found["loss-landscapes"] = loss_landscapes(model, inputs, labels, steps)
    found["landscaper"] = landscaper(model, inputs, labels, steps)
    return found


def reference(model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> Contender:
    """The body of the reference code's loop over points."""
    sys.modules.setdefault("model_loader", ModuleType("model_loader"))  # wants torchvision
    import evaluation
    import net_plotter

    net = copy.deepcopy(model)
    weights = [p.data.clone() for p in net.parameters()]
    directions = [[torch.randn_like(w) * w.norm() / 100 for w in weights] for _ in range(2)]

    def point() -> int:
        net_plotter.set_weights(net, weights, directions, (0.3, -0.2))
        evaluation.eval_loss(net, nn.CrossEntropyLoss(), loader)
        return 1

    return point


def loss_landscapes(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int) -> Contender:
    """A random filter-normalized plane."""
    from loss_landscapes import random_plane
    from loss_landscapes.metrics import Loss

    metric = Loss(nn.CrossEntropyLoss(), inputs, labels)

    def points() -> int:
        own = copy.deepcopy(model)
        random_plane(own, metric, distance=1, steps=steps, normalization="filter")
        return steps**2

    return points


def landscaper(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int) -> Contender:
    """A plane through two random directions."""
    from landscaper.compute import compute_loss_landscape

    own = copy.deepcopy(model)
    criterion = nn.CrossEntropyLoss()
    directions = [
        [torch.randn_like(p) * float(p.norm()) / 100 for p in own.parameters()] for _ in "xy"
    ]

    def loss(net: nn.Module, data: tuple[Tensor, Tensor]) -> float:
        with torch.no_grad():
            return float(criterion(net(data[0]), data[1]))

    def points() -> int:
        compute_loss_landscape(
            own,
            (inputs, labels),
            copy.deepcopy(directions),
            loss,
            steps=steps,
            distance=1,
            dim=2,
            device="cpu",
        )
        return steps**2

    return points

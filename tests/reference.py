"""A naive loss surface of the published ResNets, in float64, that shares nothing with lossgrid."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A published checkpoint, in float64, without the prefix of its names."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("module."): tensor.double() for name, tensor in state.items()}


def forward(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """He et al.'s CIFAR ResNet with parameter-free shortcuts, as its checkpoint's names tell."""

    def norm(name: str, x: Tensor) -> Tensor:
        w = [weights[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        mean, var, gamma, beta = (t.view(1, -1, 1, 1) for t in w)
        return (x - mean) / torch.sqrt(var + 1e-5) * gamma + beta

    def conv(name: str, x: Tensor, stride: int) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], stride=stride, padding=1)

    x = F.relu(norm("bn1", conv("conv1", x, 1)))
    blocks = len({name.split(".")[1] for name in weights if name.startswith("layer1.")})
    for layer in (1, 2, 3):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            y = F.relu(norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride)))
            y = norm(f"{name}.bn2", conv(f"{name}.conv2", y, 1))
            if stride == 2:
                extra = (y.shape[1] - x.shape[1]) // 2
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
            x = F.relu(x + y)
    return F.linear(x.mean(dim=(2, 3)), weights["linear.weight"], weights["linear.bias"])


def direction(weights: dict[str, Tensor], seed: int, axis: str) -> dict[str, Tensor]:
    """Filter-normalized: a Gaussian for every weight of two or more dimensions, float32 at last."""
    found = {}
    for name, theta in weights.items():
        if theta.dim() < 2:
            continue
        key = hashlib.blake2b(f"{seed}/0/{axis}/{name}".encode(), digest_size=16).digest()
        philox = np.random.Philox(key=int.from_bytes(key, "little"))
        d = np.random.Generator(philox).standard_normal(tuple(theta.shape))
        for i in range(theta.shape[0]):
            d[i] *= np.linalg.norm(theta[i].numpy()) / np.linalg.norm(d[i])
        found[name] = torch.from_numpy(d.astype(np.float32)).double()
    return found


def surface(
    weights: dict[str, Tensor],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    alphas: NDArray[np.float64],
    betas: NDArray[np.float64],
    seed: int = 0,
) -> NDArray[np.float64]:
    """Mean cross entropy at every point: float64, shape (ny, nx), point after point."""
    x, y = direction(weights, seed, "x"), direction(weights, seed, "y")
    inputs = (torch.from_numpy(images).double() / 255 - MEAN) / STD
    targets = torch.from_numpy(labels).long()
    values = np.empty((len(betas), len(alphas)))
    for row, beta in enumerate(betas):
        for column, alpha in enumerate(alphas):
            moved = dict(weights)
            for name in x:
                moved[name] = weights[name] + alpha * x[name] + beta * y[name]
            log_p = F.log_softmax(forward(moved, inputs), dim=1)
            values[row, column] = -log_p[torch.arange(len(targets)), targets].mean()
    return values

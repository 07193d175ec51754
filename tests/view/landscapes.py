"""Landscapes to look at, made of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lossgrid.store.spectra import Spectra
from lossgrid.store.trajectory import Trajectory

ALPHA, BETA = np.linspace(-1, 2, 25), np.linspace(0, 2, 17)
BOWL = 0.01 + (ALPHA[None] - 1.5) ** 2 + 3 * (BETA[:, None] - 0.25) ** 2


@dataclass
class Made:
    """A landscape from arrays; done everywhere unless told."""

    values: dict[str, NDArray[np.float64]]
    alpha: NDArray[np.float64] = field(default_factory=lambda: ALPHA)
    beta: NDArray[np.float64] | None = field(default_factory=lambda: BETA)
    status: NDArray[np.uint8] = field(default_factory=lambda: np.ones(BOWL.shape, np.uint8))
    name: str = "made"
    attributes: dict[str, str] = field(default_factory=dict)
    trajectories: dict[str, Trajectory] = field(default_factory=dict)
    layers: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    spectra: Spectra | None = None


def plane(**changes: object) -> Made:
    """The bowl, with other fields where told."""
    return replace(Made({"test_loss": BOWL}), **changes)  # type: ignore[arg-type]


def line(**changes: object) -> Made:
    """Train and test loss and accuracy along alpha, with other fields where told."""
    loss = 0.1 + ALPHA**2
    columns = {
        "train_loss": loss,
        "train_accuracy": 1 / (1 + loss),
        "test_loss": 2 * loss,
        "test_accuracy": 1 / (1 + 2 * loss),
    }
    made = Made(columns, beta=None, status=np.ones(ALPHA.size, np.uint8))
    return replace(made, **changes)  # type: ignore[arg-type]


def trajectory(**changes: object) -> Trajectory:
    """Ten checkpoints from a corner of the bowl to its bottom; the learning rate drops twice."""
    way = np.linspace(1, 0, 10)
    made = Trajectory(
        alpha=1.5 - 2.4 * way,
        beta=0.25 + 1.5 * way**2,
        checkpoints=tuple(f"{epoch}.pt" for epoch in range(10)),
        epoch=np.arange(10.0),
        learning_rate=np.repeat([0.1, 0.01, 0.001], [4, 3, 3]),
        values={"test_loss": 0.05 + way},
        status=np.ones(10, np.uint8),
        explained_variance=np.array([0.661, 0.2104]),
    )
    return replace(made, **changes)  # type: ignore[arg-type]

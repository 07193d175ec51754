"""Landscapes to look at, made of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

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


def plane(**changes: object) -> Made:
    """The bowl, with other fields where told."""
    return replace(Made({"test_loss": BOWL}), **changes)  # type: ignore[arg-type]

"""Where in a plane weights lie that need not lie in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossgrid.space.plane import BLOCK, Plane


class Projection:
    """The coordinates of the nearest point of a plane, by least squares.

    They solve min ||theta' - theta - D c|| over c, where the columns of D are the directions, which
    need not be orthogonal: D^T D c = D^T (theta' - theta), in float64. Directions that are parallel
    share what belongs to both.

    Args:
        plane: on the CPU.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        count = len(plane.corners) - 1
        self._products = torch.zeros(count, count, dtype=torch.float64)
        for _, _, directions in self._blocks():
            self._products.addmm_(directions, directions.T)

    def __call__(self, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """(alpha,) or (alpha, beta) of a network's tensors: float64, shape (1 or 2,)."""
        seen = torch.zeros(len(self._products), dtype=torch.float64)
        for begin, theta, directions in self._blocks():
            there = torch.empty_like(theta)
            self._plane.layout.read(state, begin, there)
            seen += directions @ (there - theta)
        found: NDArray[np.float64]
        found, *_ = np.linalg.lstsq(self._products.numpy(), seen.numpy(), rcond=None)
        return found

    def _blocks(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(first element, some of theta, of shape (n,), and of the directions, (count, n))."""
        for begin in range(0, self._plane.layout.size, BLOCK):
            theta, *others = self._plane.corners[:, begin : begin + BLOCK].double()
            directions = torch.stack(others)
            yield begin, theta, directions - theta if self._plane.barycentric else directions

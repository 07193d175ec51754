"""The grid's coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossgrid.job import AxisSpec, Job


def coordinates(axis: AxisSpec) -> NDArray[np.float64]:
    """Equidistant coordinates of an axis, both ends exact.

    Computed as min (n - 1 - i) / (n - 1) + max i / (n - 1), so that a symmetric range holds an
    exact zero in its middle, where the network itself is.

    Returns: float64, shape (points,).
    """
    last = max(axis.points - 1, 1)
    steps = np.arange(axis.points, dtype=np.float64)
    values: NDArray[np.float64] = axis.min * ((last - steps) / last) + axis.max * (steps / last)
    return values


Place = tuple[float, ...]
"""How far along each of a plane's directions; 0 along those left out."""


@dataclass(frozen=True)
class Grid:
    """Coordinates of a plane (beta given), of a line, or of several lines through theta.

    Attributes:
        alpha: float64, shape (nx,): the columns.
        beta: float64, shape (ny,): the rows; None for a line.
        draws: lines, each along a direction of its own, which share the points of one.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    draws: int = 1

    @classmethod
    def of(cls, job: Job) -> Grid:
        """The grid that a job asks for."""
        spec = job.grid
        beta = coordinates(spec.beta) if spec.beta else None
        return cls(coordinates(spec.alpha), beta, job.directions.draws)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx); a line is (1, nx)."""
        return (1 if self.beta is None else self.beta.size, self.alpha.size)

    def at(self, point: int) -> tuple[float, float]:
        """(alpha, beta) of a flat, row-major index; beta is 0 on a line."""
        row, column = divmod(point, self.alpha.size)
        return float(self.alpha[column]), 0.0 if self.beta is None else float(self.beta[row])

    def places(self, point: int) -> list[Place]:
        """Where a point's values are taken: on each of several lines, else at one place."""
        alpha, beta = self.at(point)
        if self.draws == 1:
            return [(alpha, beta)]
        return [(*[0.0] * draw, alpha) for draw in range(self.draws)]

"""The grid's coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossgrid.job import AxisSpec, GridSpec


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


@dataclass(frozen=True)
class Grid:
    """Coordinates of a plane (beta given) or a line.

    Attributes:
        alpha: float64, shape (nx,): the columns.
        beta: float64, shape (ny,): the rows; None for a line.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None

    @classmethod
    def of(cls, spec: GridSpec) -> Grid:
        """The grid that a job asks for."""
        return cls(coordinates(spec.alpha), coordinates(spec.beta) if spec.beta else None)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx); a line is (1, nx)."""
        return (1 if self.beta is None else self.beta.size, self.alpha.size)

    def at(self, point: int) -> tuple[float, float]:
        """(alpha, beta) of a flat, row-major index; beta is 0 on a line."""
        row, column = divmod(point, self.alpha.size)
        return float(self.alpha[column]), 0.0 if self.beta is None else float(self.beta[row])

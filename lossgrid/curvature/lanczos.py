"""The largest and smallest eigenvalue of a symmetric operator that is known by its products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Extremes:
    """Both ends of a spectrum; NaN where a product is not finite.

    Attributes:
        largest, smallest: Ritz values.
        residual: norm of H v - lambda v (v of norm 1), divided by |lambda|, of that of the two
            where this is larger. There is an eigenvalue within so much of each Ritz value, and
            mostly much nearer. The smallest is not measured by the largest, which is found many
            products before it, and beside which it is often nothing.
        iterations: products that were computed.
    """

    largest: float
    smallest: float
    residual: float
    iterations: int

    @property
    def ratio(self) -> float:
        """|smallest / largest|: 0 where the loss is convex, small where it nearly is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(abs(np.float64(self.smallest) / np.float64(self.largest)))


def extremes(
    product: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, iterations: int
) -> Extremes:
    """Lanczos with full reorthogonalization (Golub and Van Loan, Matrix Computations, 10.3).

    One space has both ends, and no restart repeats work. Full reorthogonalization, twice, keeps
    rounding from making copies of eigenvalues; it takes the memory of all vectors.

    Args:
        product: with the operator; float64 vectors.
        start: shape (n,), not 0.
        tolerance: residual to stop at, see `Extremes`.
        iterations: products at most; no more than n are computed.
    """
    most = min(iterations, start.numel())
    basis = torch.empty(most, start.numel(), dtype=torch.float64, device=start.device)
    basis[0] = start / start.norm()  # rows that are not written take no memory
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        count = len(diagonal) + 1
        rest = product(basis[count - 1])
        diagonal.append(float(basis[count - 1] @ rest))
        if not math.isfinite(diagonal[-1]):
            return Extremes(math.nan, math.nan, math.nan, count)
        for _ in range(2):
            rest = rest - basis[:count].T @ (basis[:count] @ rest)
        norm = float(rest.norm())
        if not math.isfinite(norm):
            return Extremes(math.nan, math.nan, math.nan, count)
        found = _ritz(diagonal, beside, norm)
        if count == most or norm == 0 or found.residual <= tolerance:
            return found
        beside.append(norm)
        basis[count] = rest / norm


def _ritz(diagonal: list[float], beside: list[float], norm: float) -> Extremes:
    """Of the tridiagonal matrix so far; `norm` is what would stand beside it next."""
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(matrix)
    rests, sizes = norm * np.abs(vectors[-1, [0, -1]]), np.abs(values[[0, -1]])
    each = np.divide(rests, sizes, out=np.where(rests > 0, np.inf, 0.0), where=sizes > 0)
    return Extremes(float(values[-1]), float(values[0]), float(each.max()), len(diagonal))

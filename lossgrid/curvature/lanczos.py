"""A symmetric operator that is known by its products, reduced to a small tridiagonal matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""The operator's, with float64 vectors of shape (n,)."""


@dataclass(frozen=True)
class Ritz:
    """Eigenvalues of the tridiagonal matrix of `count` products, which approach the operator's.

    Attributes:
        values: ascending, shape (count,); NaN once a product is not finite.
        weights: of each the squared share of its vector in the start, shape (count,); they add up
            to 1.
        residuals: norm of H v - lambda v for each and its vector v of norm 1, shape (count,).
            There is an eigenvalue within so much of the Ritz value, and mostly much nearer.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    residuals: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Products that have been computed."""
        return self.values.size

    @property
    def is_finite(self) -> bool:
        """Whether all products have been."""
        return bool(np.isfinite(self.values).all())


def lanczos(product: Product, start: Tensor, iterations: int) -> Iterator[Ritz]:
    """Lanczos with full reorthogonalization (Golub and Van Loan, Matrix Computations, 10.3).

    One space has both ends of the spectrum, and no restart repeats work. Full reorthogonalization,
    twice, keeps rounding from making copies of eigenvalues; it takes the memory of all vectors.

    Args:
        product: with the operator.
        start: shape (n,), not 0.
        iterations: products at most; no more than n are computed.

    Yields: what is known after each product; the last where the space is exhausted or a product is
        not finite.
    """
    most = min(iterations, start.numel())
    basis = torch.empty(most, start.numel(), dtype=torch.float64, device=start.device)
    basis[0] = start / start.norm()  # rows that are not written take no memory
    diagonal: list[float] = []
    beside: list[float] = []
    for count in range(1, most + 1):
        rest = product(basis[count - 1])
        diagonal.append(float(basis[count - 1] @ rest))
        for _ in range(2):
            rest = rest - basis[:count].T @ (basis[:count] @ rest)
        norm = float(rest.norm())
        if not (math.isfinite(diagonal[-1]) and math.isfinite(norm)):
            yield Ritz(*np.full((3, count), np.nan))
            return
        yield _ritz(diagonal, beside, norm)
        if norm == 0:
            return
        beside.append(norm)
        if count < most:
            basis[count] = rest / norm


def _ritz(diagonal: list[float], beside: list[float], norm: float) -> Ritz:
    """Of the tridiagonal matrix so far; `norm` is what would stand beside it next."""
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(matrix)
    return Ritz(values, vectors[0] ** 2, norm * np.abs(vectors[-1]))

"""The largest and smallest eigenvalue of a symmetric operator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lossgrid.curvature.lanczos import Product, Ritz, lanczos


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


def extremes(product: Product, start: Tensor, tolerance: float, iterations: int) -> Extremes:
    """Products until both ends are known to a tolerance.

    Args:
        product: with the operator.
        start: shape (n,), not 0.
        tolerance: residual to stop at, see `Extremes`.
        iterations: products at most.
    """
    for ritz in lanczos(product, start, iterations):
        found = _ends(ritz)
        if found.residual <= tolerance:
            break
    return found


def _ends(ritz: Ritz) -> Extremes:
    if not ritz.is_finite:
        return Extremes(math.nan, math.nan, math.nan, ritz.count)
    rests, sizes = ritz.residuals[[0, -1]], np.abs(ritz.values[[0, -1]])
    each = np.divide(rests, sizes, out=np.where(rests > 0, np.inf, 0.0), where=sizes > 0)
    return Extremes(float(ritz.values[-1]), float(ritz.values[0]), float(each.max()), ritz.count)

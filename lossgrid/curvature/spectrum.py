"""The density of an operator's eigenvalues, from random probes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lossgrid.curvature.lanczos import Product, lanczos


def quadrature(product: Product, probe: Tensor, iterations: int) -> NDArray[np.float64]:
    """Nodes and weights by which the probe sees the operator's spectrum (stochastic Lanczos).

    Ritz values t, weighted with the squared share w of their vectors in the probe v (of norm 1),
    are a Gauss quadrature: sum w f(t) = v f(H) v, exactly for polynomials f of degree 2
    iterations - 1. With a random direction v, that is on the average the mean of f over all
    eigenvalues. Golub and Welsch, Mathematics of Computation 23, 221 (1969); Lin, Saad and Yang,
    SIAM Review 58, 34 (2016); Ghorbani, Krishnan and Xiao, arXiv:1901.10159.

    Args:
        product: with the operator.
        probe: standard normal numbers, shape (n,).
        iterations: products at most.

    Returns: float64, shape (2, iterations): nodes, and weights, which are 0 where there are fewer
        nodes; NaN where a product is not finite.
    """
    for ritz in lanczos(product, probe, iterations):
        last = ritz
    found = np.zeros((2, iterations))
    found[:, : last.count] = last.values, last.weights
    return found if last.is_finite else np.full_like(found, np.nan)

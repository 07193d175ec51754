"""How the Hessian's eigenvalues are spread at some places, as a results file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spectra:
    """Quadratures of the density of eigenvalues (stochastic Lanczos).

    At a place and by a probe, the share of eigenvalues below t is estimated by the sum of the
    weights of those nodes that lie below t; the mean over probes has less error.

    Attributes:
        alpha: of the places, float64, shape (places,). beta: likewise, or None over a line.
        nodes: by split, float64, shape (places, probes, 2, iterations): Ritz values, and their
            weights, which add up to 1 and are 0 where there are fewer values. NaN until computed,
            and where a product is not finite.
        parameters: numbers that the Hessian is by: how many eigenvalues it has.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    nodes: Mapping[str, NDArray[np.float64]]
    parameters: int

    @property
    def pending(self) -> list[tuple[int, int]]:
        """(place, probe) of what is not computed of any split."""
        unknown = [np.isnan(nodes).any(axis=(2, 3)) for nodes in self.nodes.values()]
        return [(place, probe) for place, probe in np.argwhere(np.any(unknown, axis=0)).tolist()]

    def place(self, number: int) -> tuple[float, float]:
        """Alpha and beta, which is 0 over a line."""
        beta = 0.0 if self.beta is None else float(self.beta[number])
        return float(self.alpha[number]), beta

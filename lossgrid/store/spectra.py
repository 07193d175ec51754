"""How the Hessian's eigenvalues are spread at some places, as a results file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE


@dataclass(frozen=True)
class Spectra:
    """Quadratures of the density of eigenvalues (stochastic Lanczos).

    At a place and by a probe, the share of eigenvalues below t is estimated by the sum of the
    weights of those nodes that lie below t; the mean over probes has less error.

    Attributes:
        alpha: of the places, float64, shape (places,). beta: likewise, or None over a line.
        nodes: by split, float64, shape (places, probes, 2, iterations): Ritz values, and their
            weights, which add up to 1 and are 0 where there are fewer values. NaN until computed,
            where that failed, and where a product is not finite.
        status: 0 pending, 1 done, 2 failed; uint8, shape (places, probes).
        parameters: numbers that the Hessian is by: how many eigenvalues it has.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    nodes: Mapping[str, NDArray[np.float64]]
    status: NDArray[np.uint8]
    parameters: int

    @property
    def unfinished(self) -> list[tuple[int, int]]:
        """(place, probe) of what is pending or has failed."""
        return [(place, probe) for place, probe in np.argwhere(self.status != DONE).tolist()]

    def lacking(self, places: slice = slice(None)) -> dict[str, int]:
        """How many probes of some places have no numbers, by why; no reason has 0."""
        done, finite = self.status[places] == DONE, self.is_finite[places]
        counts = {"missing": ~done, "not finite": done & ~finite}
        return {why: int(probes.sum()) for why, probes in counts.items() if probes.any()}

    @property
    def is_finite(self) -> NDArray[np.bool_]:
        """Whether what is known of a probe are numbers, for all splits: shape (places, probes)."""
        finite = [np.isfinite(nodes).all(axis=(2, 3)) for nodes in self.nodes.values()]
        return np.asarray(np.all(finite, axis=0))

    def place(self, number: int) -> tuple[float, float]:
        """Alpha and beta, which is 0 over a line."""
        beta = 0.0 if self.beta is None else float(self.beta[number])
        return float(self.alpha[number]), beta

"""The trace of an operator that is known by its products, from random probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from torch import Tensor


def trace(product: Callable[[Tensor], Tensor], probes: Iterable[Tensor]) -> tuple[float, float]:
    """Hutchinson's estimate: the mean of v H v over vectors of signs, and its standard error.

    Hutchinson, Communications in Statistics 18, 1059 (1989).

    Args:
        product: with the operator; float64 vectors.
        probes: two or more vectors of independent, equally likely +1 and -1.
    """
    found = np.array([float(probe @ product(probe)) for probe in probes])
    with np.errstate(invalid="ignore"):  # values that are not finite
        return float(found.mean()), float(found.std(ddof=1) / np.sqrt(found.size))

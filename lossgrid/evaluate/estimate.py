"""The mean over all samples, from the first of them and from what is known at other points.

Control variates, level by level as in multilevel Monte Carlo (Giles, Acta Numerica 24, 2015).
Samples are in random order, and every estimate uses the first n of them. A point's parents are the
points of a coarser lattice around it; with their weights w_k

    mean(p) = b sum_k w_k mean(k) + 1/n sum_{i < n} r_i,    r_i = v_i(p) - b sum_k w_k v_i(k)

where v_i is sample i's value and b the regression coefficient of v(p) on that sum. Unrolled down to
points that have used all N samples, and so are exact, this is an exact part plus a sum over
samples. What sample i adds to the error of that sum is its influence:

    u_i(p) = b sum_k w_k u_i(k) + (r_i / n sqrt(1 - n / N) if i < n else 0)

(with the root, the variance of a mean of n out of N comes out right, and covariances about so). As
the order is random, the variance of the sum follows from how u varies among samples that have been
used alike: those between two neighbouring values that n may take. So errors that a point shares
with its parents, and these with one another, count as what they are. To it is added the square of
what the largest r_i contributes: one more like it may be among the samples not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

OFFSET = 0.01
"""Added to the value that an error is relative to, so that a value of 0 can be estimated."""

FEWEST = 100
"""Samples before a variance is believed."""

GROWTH = 1.25
"""Of the numbers of samples that a point may use."""

MOST = 0.5
"""Share of all samples; a point that needs more uses all, and is exact."""

ROUNDING = 1e-6
"""Of a value, which is kept in float32."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """What is known of the metrics at a point, from its first n samples, or of a sum of points.

    Attributes:
        mean: estimates of the means over all samples, shape (metrics,).
        values: of the samples, shape (metrics, n).
        influence: shape (metrics, reach), of the samples that have any; empty if all were used.
    """

    mean: Floats
    values: Floats
    influence: Floats


@dataclass(frozen=True)
class Estimate:
    """Means over all samples, their standard errors (0 where exact), the influence: see `Known`.

    `own` is the part of the errors that more samples at this point would reduce, squared.
    """

    mean: Floats
    error: Floats
    influence: Floats
    own: Floats


def rungs(population: int, batch: int) -> list[int]:
    """The numbers of samples that a point may use, ascending: whole batches, or all samples."""
    count = -(-FEWEST // batch) * batch
    found = []
    while count <= MOST * population:
        found.append(count)
        count = max(count + batch, round(count * GROWTH / batch) * batch)
    return [*found, population]


def combined(parents: Sequence[Known], weights: Floats) -> Known | None:
    """The weighted sum of parents: a point's control; none if they are not finite."""
    fewest = min(known.values.shape[1] for known in parents)
    reach = max(known.influence.shape[1] for known in parents)
    metrics = len(parents[0].mean)
    mean, values = np.zeros(metrics), np.zeros((metrics, fewest))
    influence = np.zeros((metrics, reach))
    for known, weight in zip(parents, weights, strict=True):
        mean += weight * known.mean
        values += weight * known.values[:, :fewest]
        influence[:, : known.influence.shape[1]] += weight * known.influence
    finite = np.isfinite(mean).all() and np.isfinite(values).all()
    return Known(mean, values, influence) if finite else None


def exact(values: Floats) -> Estimate:
    """Of all samples."""
    metrics = len(values)
    nothing = np.zeros(metrics)
    return Estimate(values.mean(axis=1), nothing, np.zeros((metrics, 0)), nothing)


def estimate(values: Floats, control: Known | None, steps: Sequence[int]) -> Estimate:
    """The means over all samples from the first n of them.

    Args:
        values: finite, shape (metrics, n).
        control: of at least n samples; without one this is the plain mean.
        steps: see `rungs`; n is one of them.
    """
    population = steps[-1]
    count = values.shape[1]
    if control is None:
        control = Known(np.zeros(len(values)), np.zeros_like(values), np.zeros((len(values), 0)))
    known = control.values[:, :count]
    slope = _slope(values, known)
    rest = values - slope[:, None] * known
    mean = slope * control.mean + rest.mean(axis=1)
    reach = max(count, control.influence.shape[1])
    influence = np.zeros((len(values), reach))
    influence[:, : control.influence.shape[1]] = slope[:, None] * control.influence
    added = rest / count * np.sqrt(1 - count / population)
    influence[:, :count] += added
    worst = np.abs(added - added.mean(axis=1, keepdims=True)).max(axis=1) ** 2
    own = count * added.var(axis=1, ddof=1) + worst
    return Estimate(mean, np.sqrt(_variance(influence, steps) + worst), influence, own)


def _slope(values: Floats, known: Floats) -> Floats:
    """Regression coefficients, metric by metric, from 0 to 2.

    It is 1, as for a perfect prediction, on a control that does not vary but for rounding.
    """
    apart = known - known.mean(axis=1, keepdims=True)
    spread = (apart**2).sum(axis=1)
    together = (apart * values).sum(axis=1)
    slope: Floats = np.ones_like(spread)
    rounding = (ROUNDING * np.abs(known).max(axis=1)) ** 2 * known.shape[1]
    np.divide(together, spread, out=slope, where=spread > rounding)
    return np.clip(slope, 0, 2)


def _variance(influence: Floats, steps: Sequence[int]) -> Floats:
    """Of the sum over samples, for random orders of them."""
    ends = [0, *(step for step in steps if step <= influence.shape[1])]
    variance: Floats = np.zeros(len(influence))
    for begin, end in pairwise(ends):
        variance += (end - begin) * influence[:, begin:end].var(axis=1, ddof=1)
    return variance

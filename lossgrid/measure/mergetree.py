"""How the minima of a surface join as the level rises: the merge tree of its sublevel sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Minimum:
    """A local minimum, and where it joins a lower one.

    Attributes:
        point: its flat index.
        value: there.
        saddle: flat index of the highest point of the lowest way to a lower minimum; None for the
            lowest of all that can be reached from here.
        into: the lower minimum's point; None where `saddle` is.
        persistence: value at the saddle minus `value`; infinite without one.
    """

    point: int
    value: float
    saddle: int | None
    into: int | None
    persistence: float


def merge_tree(values: Floats) -> list[Minimum]:
    """The local minima of a surface, each joined to a lower one (the elder rule), lowest first.

    Points are neighbours along the grid's lines, four a point, so that two minima are joined at
    level t when grid lines lead from one to the other without rising above t. Of equal values the
    one with the smaller index counts as lower. See Edelsbrunner and Harer, Computational Topology,
    2010, chapter VII.

    Args:
        values: shape (ny, nx); points that are not finite are missing.
    """
    flat = values.ravel()
    height = np.full(
        flat.size, flat.size
    )  # a point's place among the sorted; missing ones are last
    order = np.argsort(flat, kind="stable")
    order = order[np.isfinite(flat[order])]
    height[order] = np.arange(order.size)
    edges = _edges(values)
    bottom = _bottoms(height, edges)
    minima = order[bottom[order] == order]
    saddles = _saddles(height, edges, bottom)
    joined = _joined(height, saddles)
    found = [_minimum(flat, int(point), joined.get(int(point))) for point in minima]
    return [minimum for minimum in found if minimum.persistence > 0]  # others are parts of plateaus


def _minimum(flat: Floats, point: int, join: tuple[int, int] | None) -> Minimum:
    if join is None:
        return Minimum(point, float(flat[point]), None, None, float("inf"))
    saddle, into = join
    return Minimum(point, float(flat[point]), saddle, into, float(flat[saddle] - flat[point]))


def _edges(values: Floats) -> Integers:
    """Pairs of neighbours that both have a value, shape (n, 2)."""
    index = np.arange(values.size).reshape(values.shape)
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], axis=1)
    along = np.stack([index[:-1].ravel(), index[1:].ravel()], axis=1)
    edges: Integers = np.concatenate([across, along])
    present: Integers = edges[np.isfinite(values.ravel())[edges].all(axis=1)]
    return present


def _bottoms(height: Integers, edges: Integers) -> Integers:
    """The minimum that steepest descent reaches from each point."""
    lowest = height.copy()  # of a point and its neighbours
    for here, there in (edges.T, edges.T[::-1]):
        np.minimum.at(lowest, here, height[there])
    present = height < height.size
    at = np.empty(height.size, np.int64)
    at[height[present]] = np.flatnonzero(present)
    below = np.arange(height.size)
    below[present] = at[lowest[present]]
    while (below[below] != below).any():
        below = below[below]
    return below


def _saddles(height: Integers, edges: Integers, bottom: Integers) -> list[tuple[int, int, int]]:
    """Where two neighbouring basins meet at their lowest: (point, minimum, minimum), ascending."""
    sides = np.sort(bottom[edges], axis=1)
    apart = sides[:, 0] != sides[:, 1]
    edges, sides = edges[apart], sides[apart]
    upper = np.where(height[edges[:, 0]] > height[edges[:, 1]], edges[:, 0], edges[:, 1])
    ascending = np.argsort(height[upper], kind="stable")
    _, first = np.unique(sides[ascending], axis=0, return_index=True)
    chosen = ascending[np.sort(first)]
    return list(zip(upper[chosen].tolist(), *sides[chosen].T.tolist(), strict=True))


def _joined(height: Integers, saddles: list[tuple[int, int, int]]) -> dict[int, tuple[int, int]]:
    """For each minimum that joins a lower one, the saddle and that one."""
    lower: dict[int, int] = {}
    joined: dict[int, tuple[int, int]] = {}

    def lowest(minimum: int) -> int:
        while minimum in lower:
            minimum = lower[minimum]
        return minimum

    for saddle, *sides in saddles:
        keep, end = sorted((lowest(side) for side in sides), key=lambda point: int(height[point]))
        if keep != end:
            lower[end] = keep
            joined[end] = (saddle, keep)
    return joined

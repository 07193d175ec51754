"""The nested lattices of a grid, and how a coarse one predicts the points of the next."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

COARSEST_POINTS = 4
"""The coarsest lattice has at least this many points along the longer axis, if the grid has."""

CUBIC = 4
"""Nodes that a cubic polynomial goes through."""

LINEAR = 2
"""Nodes that a straight line goes through."""


def lattice(points: int, stride: int) -> NDArray[np.int64]:
    """Indices of every `stride`-th point of an axis; the last index always belongs.

    Returns: int64, shape (ceil((points - 1) / stride) + 1,), ascending.
    """
    indices = np.arange(0, points, stride, dtype=np.int64)
    if indices[-1] != points - 1:
        indices = np.append(indices, points - 1)
    return indices


def strides(ny: int, nx: int) -> list[int]:
    """Lattice spacings from the coarsest, a power of two, down to 1."""
    coarsest = 1
    while max(ny, nx) > 2 * coarsest * COARSEST_POINTS:
        coarsest *= 2
    return [coarsest >> level for level in range(coarsest.bit_length())]


def coarse_to_fine(ny: int, nx: int) -> Iterator[NDArray[np.int64]]:
    """Yield every point of a grid once, lattice by lattice, a row at a time.

    Points are flat, row-major indices `iy * nx + ix` (row = beta, column = alpha). Memory is that
    of one row, so a grid of 10^8 points costs nothing to begin.

    Yields: int64 arrays of at most nx points.
    """
    for level in range(len(strides(ny, nx))):
        yield from level_rows(ny, nx, level)


def level_rows(ny: int, nx: int, level: int) -> Iterator[NDArray[np.int64]]:
    """Yield the points of a lattice that no coarser one has, a row at a time.

    Args:
        ny, nx: of the grid.
        level: 0 for the coarsest lattice.

    Yields: int64 arrays of flat indices.
    """
    spacings = strides(ny, nx)
    rows, columns = lattice(ny, spacings[level]), lattice(nx, spacings[level])
    coarser_rows: set[int] = set()
    new_columns = columns
    if level:
        coarser_rows = set(lattice(ny, spacings[level - 1]).tolist())
        coarser_columns = lattice(nx, spacings[level - 1])
        new_columns = np.setdiff1d(columns, coarser_columns, assume_unique=True)
    for row in rows.tolist():
        wanted = new_columns if row in coarser_rows else columns
        if wanted.size:
            yield row * nx + wanted


def level_of(ny: int, nx: int, point: int) -> int:
    """The coarsest lattice that a point belongs to, 0 for the coarsest of all."""
    row, column = divmod(point, nx)
    for level, stride in enumerate(strides(ny, nx)):
        if _is_node(row, ny, stride) and _is_node(column, nx, stride):
            return level
    raise ValueError(f"{point} is not a point of a grid of {ny} x {nx}")


def predictors(
    ny: int, nx: int, point: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the sets of points of coarser lattices that predict a point, the best first.

    The prediction is the value, at the point, of the polynomial through the nearest nodes of each
    axis: first a cubic one through 4 nodes (2 on either side but for the margins), then a linear
    one through 2, or through all where there are fewer; then the same of the lattice before.

    Args:
        ny, nx: of the grid.
        point: flat index.

    Yields: flat indices, int64, and weights, float64, which sum to 1; at most 16 of either. Nothing
        for a point of the coarsest lattice.
    """
    row, column = divmod(point, nx)
    for stride in reversed(strides(ny, nx)[: level_of(ny, nx, point)]):
        for nodes in (CUBIC, LINEAR):
            rows, of_rows = _stencil(row, ny, stride, nodes)
            columns, of_columns = _stencil(column, nx, stride, nodes)
            points = (rows[:, None] * nx + columns).ravel()
            yield points, np.outer(of_rows, of_columns).ravel()


def stencils(
    points: int, coarser: int, finer: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How cubics through nodes of an axis predict those of the next finer lattice.

    Args:
        points: of the axis.
        coarser, finer: the lattices' spacings.

    Returns: for each node of the finer lattice the numbers of `CUBIC` nodes of the coarser, int64,
        and their weights, float64, both of shape (n, CUBIC); where there are fewer, one is repeated
        with weight 0.
    """
    nodes = lattice(points, coarser)
    indices = lattice(points, finer)
    numbers = np.zeros((indices.size, CUBIC), np.int64)
    weights = np.zeros((indices.size, CUBIC))
    for row, index in enumerate(indices.tolist()):
        near, of_near = _stencil(index, points, coarser, CUBIC)
        numbers[row] = np.searchsorted(nodes, near[0])
        numbers[row, : near.size] = np.searchsorted(nodes, near)
        weights[row, : near.size] = of_near
    return numbers, weights


def parent_index(ny: int, nx: int, point: int) -> int | None:
    """A number for each point of the finest lattice but one; none for a point that is no parent."""
    row, column = divmod(point, nx)
    if len(strides(ny, nx)) == 1 or not (_is_node(row, ny, 2) and _is_node(column, nx, 2)):
        return None
    return (row + 1) // 2 * (nx // 2 + 1) + (column + 1) // 2


def _is_node(index: int, points: int, stride: int) -> bool:
    return index % stride == 0 or index == points - 1


@lru_cache(maxsize=4096)
def _stencil(
    index: int, points: int, stride: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `count` nearest nodes of an axis, or all, and Lagrange's weights of each at an index."""
    nodes = lattice(points, stride)
    after = int(np.searchsorted(nodes, index))
    if nodes[after] == index:
        return nodes[after : after + 1], np.ones(1)
    count = min(count, nodes.size)
    first = min(max(after - count // 2, 0), nodes.size - count)
    near = nodes[first : first + count]
    weights = [
        np.prod([(index - other) / (node - other) for other in near if other != node])
        for node in near
    ]
    return near, np.array(weights)

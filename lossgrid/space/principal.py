"""Principal components of a training run's checkpoints.

With theta_n the last of n + 1 checkpoints, the rows of M are theta_0 - theta_n, ...,
theta_{n-1} - theta_n (Li et al., arXiv 1712.09913, section 7.2). PCA takes the mean of its rows
from M, and the right singular vectors of what is left are the components. M has as many columns as
the network has weights, so these come from its Gram matrix G = M M^T, n x n: with H = I - 1/n and
the eigenvectors u_k of H G H, of eigenvalues s_k, the components are M^T H u_k / sqrt(s_k), and
s_k / trace(H G H) is the share of the variance that each explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lossgrid.errors import UserError
from lossgrid.problem import open_checkpoint
from lossgrid.space.layout import Layout

HELD = 1 << 31
"""Bytes of all checkpoints together that are in memory at a time. A part of every checkpoint is, so
that each byte of the files is read once for the Gram matrix and once for the components, and each
file is opened as often as there are parts."""

COLUMNS = 1 << 12
"""Of M, in float64 at a time."""

NEGLIGIBLE = 1e-10
"""Share of the variance below which a component is nothing but rounding."""

EQUAL = 1e-6
"""Distance from theta, relative to its norm, that a checkpoint stored in another precision has."""


@dataclass(frozen=True)
class Principal:
    """The first principal components, of norm one.

    A component's sign is such that the checkpoint which is farthest from the mean along it (the
    first of these) lies at its positive side.

    Attributes:
        components: float32, shape (1 or 2, layout.size).
        explained: shares of the variance that the first two explain, from 0 to 1.
    """

    components: Tensor
    explained: tuple[float, float]


def principal(
    checkpoints: Sequence[Path], layout: Layout, model: nn.Module, count: int
) -> Principal:
    """The principal components of a trajectory that ends at theta.

    All sums are in float64 and in an order that depends on the sizes alone, so on one thread the
    same files give the same bits.

    Args:
        checkpoints: theta_0 to theta_n.
        layout: the weights that count.
        model: has theta, which must be theta_n.
        count: of components, 1 or 2.

    Raises:
        UserError: a checkpoint does not fit the model, the last is not theta, or all lie in fewer
            dimensions.
    """
    theta = _flat(layout, model)
    _check_end(checkpoints[-1], layout, model, theta)
    rows = _Rows(checkpoints[:-1], layout, model, theta)
    gram = torch.zeros(rows.count, rows.count, dtype=torch.float64)
    for _, part in rows.parts():
        gram.addmm_(part, part.T)
    _check_rows(checkpoints, gram)
    centred = gram - gram.mean(dim=0, keepdim=True)
    centred -= centred.mean(dim=1, keepdim=True)
    squares, vectors = torch.linalg.eigh(centred)
    shares = (squares.flip(0).clamp(min=0) / squares.clamp(min=0).sum()).nan_to_num()
    shares = torch.cat([shares, shares.new_zeros(2)])[:2]
    if rows.count < count or not shares[count - 1] > NEGLIGIBLE:
        raise UserError(
            f"directions.checkpoints: {len(checkpoints)} files, which beside the last one differ "
            f"in fewer than {count} direction{'s' if count > 1 else ''}; "
            + ("name more, or leave out grid.beta for a line" if count > 1 else "name more")
        )
    weights = _signed(vectors.flip(1)[:, :count]) / squares.flip(0)[:count].sqrt()
    weights -= weights.mean(dim=0)
    components = torch.empty(count, layout.size, dtype=torch.float32)
    for begin, part in rows.parts():
        components[:, begin : begin + part.shape[1]] = weights.T @ part
    return Principal(components, (float(shares[0]), float(shares[1])))


def _signed(vectors: Tensor) -> Tensor:
    """Columns whose entry of the largest magnitude, the first of such, is positive."""
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    return vectors * vectors.gather(0, largest).sign()


class _Rows:
    """The rows of M, a part of every one at a time."""

    def __init__(
        self, checkpoints: Sequence[Path], layout: Layout, model: nn.Module, theta: Tensor
    ) -> None:
        self.count = len(checkpoints)
        self._checkpoints = checkpoints
        self._layout = layout
        self._model = model
        self._theta = theta

    def parts(self) -> Iterator[tuple[int, Tensor]]:
        """(first column, some columns of M: float64, shape (count, at most COLUMNS)).

        What is yielded is overwritten by the next.
        """
        size, kind = self._layout.size, self._theta.dtype
        width = max(1, HELD // max(1, self.count) // kind.itemsize)
        held = torch.empty(self.count, min(width, size), dtype=kind)
        columns = torch.empty(self.count, min(COLUMNS, size), dtype=torch.float64)
        for begin in range(0, size, width):
            part = held[:, : size - begin]
            for path, row in zip(self._checkpoints, part, strict=True):
                self._layout.read(open_checkpoint(path, self._model).state, begin, row)
            for first in range(0, part.shape[1], COLUMNS):
                found = part[:, first : first + COLUMNS]
                at = begin + first
                some = columns[:, : found.shape[1]].copy_(found)
                yield at, some.sub_(self._theta[at : at + found.shape[1]])


def _flat(layout: Layout, model: nn.Module) -> Tensor:
    """Theta, in a type that holds all of the model's numbers as they are."""
    state = layout.state(model)
    narrow = all(tensor.dtype.itemsize <= 4 for tensor in state.values())
    return layout.flatten(state, torch.float32 if narrow else torch.float64)


def _check_end(path: Path, layout: Layout, model: nn.Module, theta: Tensor) -> None:
    last = torch.empty_like(theta)
    layout.read(open_checkpoint(path, model).state, 0, last)
    apart = float((last - theta).norm() / theta.norm())
    if not apart <= EQUAL:
        raise UserError(
            f"directions.checkpoints: the last one, {path}, is not theta (it is {apart:.2g} of "
            "theta's norm away), at which the plane has its origin: set model.checkpoint to it"
        )


def _check_rows(checkpoints: Sequence[Path], gram: Tensor) -> None:
    for path, square in zip(checkpoints, gram.diagonal().tolist(), strict=False):
        if not square < float("inf"):
            raise UserError(
                f"checkpoint {path} has weights that are not finite: its training diverged; "
                "leave it out"
            )

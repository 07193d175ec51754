"""One moment of a landscape, taken so that a run at work can't make it contradict itself."""

from __future__ import annotations

import difflib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import FAILED, PENDING
from lossgrid.errors import UserError
from lossgrid.view import Landscape

_MOST_UNEQUAL = 3.0  # lengths of axes


@dataclass(frozen=True)
class Snapshot:
    """A landscape at one moment of its run.

    `curves` holds the columns to draw, shape (ny, nx) or (nx,), NaN where pending or failed;
    `column` is the one that the picture is about. `draws` holds the values along each of several
    directions whose mean a column is, shape (draws, nx), for the columns of which there are such.
    """

    name: str
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None
    status: NDArray[np.uint8]
    curves: dict[str, NDArray[np.float64]]
    column: str
    draws: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, results: Landscape, column: str, columns: Sequence[str], *, stored: bool = False
    ) -> Snapshot:
        """Read `columns`, of which `column` is one.

        Where a loss is NaN the network's outputs are, and its accuracy is that of any guess: NaN
        here, unless `stored` asks for what the file has.
        """
        # Writers store a value before its status, so status is read before values.
        status = results.status
        missing = np.isin(status, (PENDING, FAILED))

        def read(name: str) -> NDArray[np.float64]:
            known = results.layers if name in results.layers else results.values
            values = np.where(missing, np.nan, known[name])
            loss = loss_of(name)
            if stored or loss not in results.values:
                return values
            return np.where(np.isnan(results.values[loss]), np.nan, values)

        curves = {name: read(name) for name in columns}
        parts = {name: draws_of(name, results.values) for name in columns}
        draws = {name: np.array(list(map(read, those))) for name, those in parts.items() if those}
        return cls(results.name, results.alpha, results.beta, status, curves, column, draws)

    @property
    def values(self) -> NDArray[np.float64]:
        """Those of the column that the picture is about."""
        return self.curves[self.column]

    @property
    def is_plane(self) -> bool:
        """Whether both axes have more than one point."""
        return is_plane(self)

    @property
    def axes(self) -> dict[str, NDArray[np.float64]]:
        """A plane's two axes by name, alpha first; of a line the only one with length."""
        both = {"alpha": self.alpha} | ({} if self.beta is None else {"beta": self.beta})
        return {name: axis for name, axis in both.items() if axis.size > 1} or {"alpha": self.alpha}

    @property
    def rows(self) -> NDArray[np.float64]:
        """Coordinates of the rows: beta, or 0 where there is none."""
        return np.zeros(1) if self.beta is None else self.beta

    @property
    def width(self) -> float:
        """Length of the longer axis."""
        axes = [self.alpha] if self.beta is None else [self.alpha, self.beta]
        return float(max(np.ptp(axis) for axis in axes))

    @property
    def size(self) -> str:
        """How many points, in words, alpha first."""
        return " x ".join(map(str, reversed(self.status.shape))) + " points"

    @property
    def is_fraction(self) -> bool:
        """Whether more is better, between 0 and 1."""
        return is_fraction(self.column)

    @property
    def is_ranked(self) -> bool:
        """Whether one point is better than another: not so of a count, say."""
        return self.is_fraction or self.column.endswith("loss")

    @property
    def best(self) -> int:
        """Flat index of the smallest finite value; of the largest for accuracy."""
        sign = -1.0 if self.is_fraction else 1.0
        values = np.where(np.isfinite(self.values), sign * self.values, np.inf)
        return int(np.argmin(values))

    @property
    def best_place(self) -> tuple[float, float]:
        """Alpha and beta of the best point."""
        row, column = divmod(self.best, self.alpha.size)
        return float(self.alpha[column]), float(self.rows[row])

    def averaged(self) -> str:
        """Of how many lines curves and bands tell, in words; empty where there is but one."""
        draws = max(map(len, self.draws.values()), default=0)
        return f"mean and range over {draws} directions" if draws else ""

    def gaps(self) -> str:
        """How much is missing, in words; empty when nothing is."""
        pending, failed = self.status == PENDING, self.status == FAILED
        infinite = ~np.isfinite(self.values) & ~pending & ~failed
        told = []
        if pending.any():
            told.append(f"{100 * pending.mean():.3g} % of {pending.size} points pending")
        if failed.any():
            told.append(f"{failed.sum()} failed")
        if infinite.any():
            told.append(f"{infinite.sum()} not finite")
        return ", ".join(told)

    def check_drawable(self) -> None:
        """See that there is something to draw.

        Raises:
            UserError: no value is finite.
        """
        if not np.isfinite(self.values).any():
            raise UserError(
                f"{self.name}: nothing to draw, {self.column} has no finite value ({self.gaps()})"
            )


def draws_of(column: str, columns: Container[str]) -> list[str]:
    """The columns `<column>_d<k>` among others, of which a column is the mean."""
    return list(takewhile(columns.__contains__, (f"{column}_d{draw}" for draw in count())))


def loss_of(accuracy: str) -> str:
    """The loss beside an accuracy, also beside that along one of several directions; else ""."""
    split, metric = parts(accuracy)
    is_one = metric.startswith("accuracy")
    return f"{split}_{metric.replace('accuracy', 'loss', 1)}" if is_one else ""


def is_fraction(column: str) -> bool:
    """Whether a column's values lie between 0 and 1, and more is better."""
    return column.endswith("accuracy")


def is_plane(landscape: Landscape | Snapshot) -> bool:
    """Whether both axes have more than one point."""
    beta = landscape.beta
    return beta is not None and min(landscape.alpha.size, beta.size) > 1


def steepness(alpha: NDArray[np.float64], beta: NDArray[np.float64]) -> float | None:
    """Height of a plane by its width, where units of both axes are drawn alike.

    None where they are not, since that would make it a ribbon.
    """
    ratio = float(np.ptp(beta) / np.ptp(alpha))
    return ratio if 1 / _MOST_UNEQUAL <= ratio <= _MOST_UNEQUAL else None


def main_column(columns: Sequence[str]) -> str:
    """The column that is shown unless another one is asked for: test_loss, a loss, or the first."""
    losses = [name for name in columns if name.endswith("_loss")]
    return next(iter(["test_loss"] if "test_loss" in losses else losses or columns))


def choose_column(landscape: Landscape, column: str | None) -> str:
    """The column that is asked for, by default the main one.

    Raises:
        UserError: there is no such column.
    """
    columns = list(landscape.values)
    if column is None:
        return main_column(columns)
    if column not in columns and column not in landscape.layers:
        nearest = difflib.get_close_matches(column, columns, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise UserError(
            f"{landscape.name}: no column {column!r} ({hint}the file has {', '.join(columns)})"
        )
    return column


def parts(column: str) -> tuple[str, str]:
    """A column's split and metric; what is of no split is its own metric."""
    split, _, metric = column.partition("_")
    return split, metric or column


def words(column: str) -> str:
    """A column's name for people."""
    return column.replace("_", " ")

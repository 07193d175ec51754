"""Curves along a line: losses on the left axis, accuracies on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from lossgrid.engine.messages import PENDING
from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.figures.heading import mark_best
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.ticks import Few
from lossgrid.view.scale import Scale, scale_for
from lossgrid.view.snapshot import Snapshot, choose_column, main_column, parts, words

_DASHES = {"train": "-", "test": "--"}
_OTHER_DASHES = ("-.", ":")
_DOTS_UP_TO = 25
_MARGIN = 0.04
BAND = 0.2  # opacity


@dataclass(frozen=True)
class Side:
    """One of the two axes of values: a metric, and the scale of all the columns that hold it."""

    metric: str
    scale: Scale


@dataclass(frozen=True)
class Curves:
    """Curves that are drawn, and their axes: the left one, and the right one if there is any."""

    axes: Sequence[Axes]
    lines: Sequence[Line2D]


def curves_of(results: Landscape, wanted: Sequence[str]) -> Snapshot:
    """A line and the columns to draw: those wanted, else the main metric and the accuracy.

    Raises:
        UserError: there is no such column, they hold more than two metrics, or nothing is finite.
    """
    columns = [choose_column(results, column) for column in dict.fromkeys(wanted)]
    if not columns:
        available = list(results.values)
        metrics = dict.fromkeys([_metric(main_column(available)), "accuracy"])
        columns = [name for metric in metrics for name in available if _metric(name) == metric]
    metrics = dict.fromkeys(map(_metric, columns))
    if len(metrics) > 2:
        raise UserError(
            f"--column: a line has two axes of values, not one each for {', '.join(metrics)}"
        )
    main = columns[0] if wanted else main_column(columns)
    snapshot = Snapshot.of(results, main, columns)
    snapshot.check_drawable()
    return snapshot


def sides_of(snapshots: Sequence[Snapshot], options: Options) -> list[Side]:
    """The metrics of lines, the main one first, on scales that suit the curves of all of them.

    Raises:
        UserError: what is wanted is for planes, or there are more than two metrics.
    """
    if options.levels is not None or options.kind is not None:
        raise UserError(f"{snapshots[0].name}: is a line; --levels and --kind are for planes")
    curves = [
        (name, values)
        for one in snapshots
        for name, values in (*one.curves.items(), *one.draws.items())
    ]
    metrics = dict.fromkeys([_metric(snapshots[0].column), *(_metric(name) for name, _ in curves)])
    sides: list[Side] = []
    for metric in metrics:
        values = np.concatenate([v.ravel() for name, v in curves if _metric(name) == metric])
        if np.isfinite(values).any():
            chosen = options.logarithmic if not sides else None
            fraction = metric.endswith("accuracy")
            sides.append(Side(metric, scale_for(values, fraction=fraction, logarithmic=chosen)))
    return sides


def draw_curves(axes: Axes, snapshot: Snapshot, sides: Sequence[Side]) -> Curves:
    """Draw a line's curves, the first side's on the left axis, the second's on the right.

    Colours tell metrics apart, and dashes splits: train is solid, test dashed. A curve that is the
    mean over several directions lies in a band from the smallest to the largest of these.
    """
    ((axis, along),) = snapshot.axes.items()
    computed = snapshot.status.ravel() != PENDING
    splits = list(dict.fromkeys(map(_split, snapshot.curves)))
    both = [axes, *(axes.twinx() for _ in sides[1:])]
    drawn = []
    for number, (side, on) in enumerate(zip(sides, both, strict=True)):
        for name, values in snapshot.curves.items():
            if _metric(name) == side.metric:
                finite = np.where(np.isfinite(values), values, np.nan).ravel()[computed]
                few = finite.size <= _DOTS_UP_TO or bool(np.isnan(finite).any())
                drawn += on.plot(
                    along[computed],
                    finite,
                    dashes(_split(name), splits),
                    marker="." if few else "",
                    color=f"C{number}",
                    label=words(name),
                )
                if name in snapshot.draws:
                    _draw_band(on, along[computed], snapshot.draws[name][:, computed], number)
        _frame_values(on, side, f"C{number}" if len(sides) > 1 else "black")
    axes.set_xlabel(rf"$\{axis}$")
    if along.size > 1:
        axes.set_xlim(along[0], along[-1])
    axes.xaxis.set_major_locator(Few())
    axes.grid(axis="x" if len(sides) > 1 else "both")
    return Curves(both, drawn)


def _draw_band(
    axes: Axes, along: NDArray[np.float64], draws: NDArray[np.float64], number: int
) -> None:
    """Fill what lies between the smallest and the largest of several lines, shape (draws, n)."""
    known = np.isfinite(draws).all(axis=0)
    low, high = draws.min(axis=0), draws.max(axis=0)
    axes.fill_between(along, low, high, where=known, color=f"C{number}", alpha=BAND, linewidth=0)


def mark_best_of_curves(axes: Axes, snapshot: Snapshot) -> None:
    """Put the star at the best point of the main curve."""
    (along,) = snapshot.axes.values()
    mark_best(axes, float(along[snapshot.best]), float(snapshot.values.flat[snapshot.best]))


def _metric(column: str) -> str:
    return parts(column)[1]


def _split(column: str) -> str:
    return parts(column)[0]


def dashes(split: str, splits: Sequence[str]) -> str:
    """How the curves of one of several splits are drawn."""
    others = [name for name in splits if name not in _DASHES]
    return _DASHES.get(split) or _OTHER_DASHES[others.index(split) % len(_OTHER_DASHES)]


def _frame_values(axes: Axes, side: Side, colour: str) -> None:
    """Limits with a margin, and the metric's name in the colour of its curves."""
    scale = side.scale
    axes.set_ylabel(words(side.metric), color=colour)
    axes.tick_params(axis="y", which="both", colors=colour)
    if scale.logarithmic:
        axes.set_yscale("log")
        margin = (scale.high / scale.low) ** _MARGIN
        axes.set_ylim(scale.low / margin, scale.high * margin)
    elif not scale.constant:
        margin = _MARGIN * (scale.high - scale.low)
        axes.set_ylim(scale.low - margin, scale.high + margin)
    if scale.fraction or scale.logarithmic:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scale.text(value)))

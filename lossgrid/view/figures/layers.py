"""What is known of each layer along a line: a heat map of layers by alpha."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from lossgrid.columns import layer_of
from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.figures.heading import write_heading
from lossgrid.view.figures.options import Options
from lossgrid.view.scale import scale_for
from lossgrid.view.snapshot import Snapshot, is_plane, words

_SPACE = 9.0  # points of paper for a layer's name
_NAME_SIZE = 5.5


@dataclass(frozen=True)
class Stack:
    """A result of each layer along a line.

    Attributes:
        column: its name.
        layers: from the first to the last.
        snapshot: of all of them.
    """

    column: str
    layers: Sequence[str]
    snapshot: Snapshot


def stacks_of(results: Landscape, wanted: Sequence[str]) -> list[Stack]:
    """The results of layers that are wanted, by default all of the first split.

    Raises:
        UserError: there are none, or it is a plane.
    """
    known: dict[str, list[str]] = {}
    for name in results.layers:
        known.setdefault(layer_of(name)[0], []).append(name)
    if not known:
        raise UserError(
            f"{results.name}: nothing is known of layers; compute that with curvature: "
            "{hooks: {}}, or leave out --layers"
        )
    if is_plane(results):
        raise UserError(
            f"{results.name}: is a plane; draw one layer with --column {next(iter(results.layers))}"
        )
    first = next(iter(known)).partition("_")[0]
    of_first = [name for name in known if name.startswith(f"{first}_")]
    columns = list(dict.fromkeys(wanted)) or of_first
    for column in columns:
        if column not in known:
            raise UserError(
                f"{results.name}: no result {column!r} of layers; the file has {', '.join(known)}"
            )
    snapshots = [Snapshot.of(results, known[column][0], known[column]) for column in columns]
    return [
        Stack(column, [layer_of(name)[1] for name in known[column]], snapshot)
        for column, snapshot in zip(columns, snapshots, strict=True)
    ]


def draw_stacks(figure: Figure, stacks: Sequence[Stack], options: Options) -> None:
    """A panel for each result."""
    panels = figure.subplots(1, len(stacks), squeeze=False)[0]
    for axes, stack in zip(panels, stacks, strict=True):
        _draw(figure, axes, stack, options)
        if options.title:
            gaps = stack.snapshot.gaps()
            heading = f"{stack.snapshot.name}: {words(stack.column)}"
            write_heading(axes, heading, [gaps] if gaps else [])


def _draw(figure: Figure, axes: Axes, stack: Stack, options: Options) -> None:
    ((axis, along),) = stack.snapshot.axes.items()
    values = np.array([curve.ravel() for curve in stack.snapshot.curves.values()])
    if not np.isfinite(values).any():
        raise UserError(f"{stack.snapshot.name}: nothing to draw, {stack.column} is not finite")
    scale = scale_for(values, fraction=False, logarithmic=options.logarithmic)
    shown = np.ma.masked_invalid(values).clip(scale.low, scale.high)
    norm = (LogNorm if scale.logarithmic else Normalize)(scale.low, scale.high)
    numbers = np.arange(len(stack.layers))
    colours = axes.pcolormesh(along, numbers, shown, norm=norm, shading="nearest", rasterized=True)
    told = [] if options.title else [words(stack.column)]  # which says it already
    told += ["(log scale)"] if scale.logarithmic else []
    figure.colorbar(colours, ax=axes, label=" ".join(told))
    room = figure.get_figheight() * 72 / _SPACE
    every = int(np.ceil(len(numbers) / room))
    axes.set_yticks(numbers[::every], stack.layers[::every], size=_NAME_SIZE)
    axes.invert_yaxis()
    axes.set_xlabel(rf"$\{axis}$")

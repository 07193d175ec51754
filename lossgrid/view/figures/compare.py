"""`lossgrid compare`: landscapes side by side, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.figures.curves import curves_of, draw_curves, sides_of
from lossgrid.view.figures.heading import write_heading
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plane import draw_plane, label_lines, planes_of
from lossgrid.view.figures.sheet import add_legend, gaps_of, sheet
from lossgrid.view.figures.trajectory import draw_over_line, draw_over_plane
from lossgrid.view.scale import scale_for
from lossgrid.view.snapshot import Snapshot, is_plane, main_column, words

_ACROSS = 3
_ZERO = 1e-9


def compare(
    landscapes: Sequence[Landscape], output: Path, options: Options, across: int | None = None
) -> str:
    """Draw landscapes side by side: planes with shared levels, or lines with shared axes.

    Each panel is titled with the landscape's name and its test error at theta, as in Figures 5
    to 7 of Li et al. (arXiv:1712.09913).

    Args:
        landscapes: all planes or all lines.
        output: a .png, .pdf or .svg file.
        options: as for `plot`; of planes, one column.
        across: panels in a row.

    Returns: what was written and what is missing, for people.

    Raises:
        UserError: planes are mixed with lines, one has nothing to draw or no such column, or the
            file can't be written.
    """
    planes = is_plane(landscapes[0])
    for one in landscapes:
        if is_plane(one) != planes:
            raise UserError(
                f"{one.name} and {landscapes[0].name}: a line and a plane have no scale in common; "
                "compare planes with planes"
            )
    rows, columns = _arrange(len(landscapes), across)
    with sheet(output, options, (rows, columns)) as figure:
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for spare in panels[len(landscapes) :]:
            spare.remove()
        draw = _draw_planes if planes else _draw_lines
        snapshots = draw(figure, panels[: len(landscapes)], columns, landscapes, options)
    return "\n".join([str(output), *gaps_of(snapshots)])


def _arrange(panels: int, across: int | None) -> tuple[int, int]:
    """Rows and columns: three across unless told, but two and two of four."""
    columns = min(panels, across or (2 if panels == 4 else _ACROSS))
    return -(-panels // columns), columns


def _draw_planes(
    figure: Figure,
    panels: Sequence[Axes],
    columns: int,
    landscapes: Sequence[Landscape],
    options: Options,
) -> list[Snapshot]:
    if len(options.columns) > 1:
        raise UserError("--column: planes are compared in one column; choose one")
    wanted = options.columns or [_column_of_all(landscapes)]
    snapshots = [planes_of(one, wanted)[0] for one in landscapes]
    together = np.concatenate([snapshot.values.ravel() for snapshot in snapshots])
    fraction = snapshots[0].is_fraction
    scale = scale_for(together, fraction=fraction, logarithmic=options.logarithmic)
    drawn = []
    legend: list[Line2D] = []
    for axes, snapshot, landscape in zip(panels, snapshots, landscapes, strict=True):
        drawn.append(draw_plane(axes, snapshot, scale, options))
        if options.trajectory:
            legend += draw_over_plane(axes, landscape.trajectories)
    if options.title:
        _write_headings(panels, columns, snapshots, landscapes)
    _share_labels(panels, columns)
    add_legend(figure, legend)
    if drawn[0].colours is not None:
        drawn[0].add_colour_bar(panels)
    elif options.title:
        figure.suptitle(words(snapshots[0].column))
    label_lines(figure, drawn)
    return snapshots


def _draw_lines(
    figure: Figure,
    panels: Sequence[Axes],
    columns: int,
    landscapes: Sequence[Landscape],
    options: Options,
) -> list[Snapshot]:
    snapshots = [curves_of(one, options.columns) for one in landscapes]
    sides = sides_of(snapshots, options)
    drawn = []
    legend: list[Line2D] = []
    for axes, snapshot, landscape in zip(panels, snapshots, landscapes, strict=True):
        drawn.append(draw_curves(axes, snapshot, sides))
        legend += drawn[-1].lines
        if options.trajectory:
            legend += draw_over_line(axes, landscape.trajectories, snapshot)
    if options.title:
        _write_headings(panels, columns, snapshots, landscapes)
    _share_labels(panels, columns)
    for number, curves in enumerate(drawn[:-1], start=1):
        for right in curves.axes[1:] if number % columns else []:
            right.set_ylabel("")
            right.tick_params(labelright=False)
    add_legend(figure, legend)
    return snapshots


def _column_of_all(landscapes: Sequence[Landscape]) -> str:
    """The main one of the columns that all landscapes have.

    Raises:
        UserError: there is none.
    """
    first = landscapes[0]
    common = [name for name in first.values if all(name in one.values for one in landscapes)]
    if not common:
        having = [f"{one.name} has {', '.join(one.values)}" for one in landscapes]
        raise UserError(f"no column is in all files to compare: {'; '.join(having)}")
    return main_column(common)


def _write_headings(
    panels: Sequence[Axes],
    columns: int,
    snapshots: Sequence[Snapshot],
    landscapes: Sequence[Landscape],
) -> None:
    """Write names, test errors and gaps; the names of a row at one height."""
    errors = [test_error(landscape) for landscape in landscapes]
    told = ["" if error is None else f"test error {100 * error:.2f} %" for error in errors]
    each = [(error, one.averaged(), one.gaps()) for error, one in zip(told, snapshots, strict=True)]
    notes = [[note for note in lines if note] for lines in each]
    for number, (axes, snapshot) in enumerate(zip(panels, snapshots, strict=True)):
        row = number // columns * columns
        most = max(map(len, notes[row : row + columns]))
        lines = notes[number]
        write_heading(axes, snapshot.name, [*lines, *[""] * (most - len(lines))])


def _share_labels(panels: Sequence[Axes], columns: int) -> None:
    """Leave labels to the outer panels, if all show the same ranges."""
    if len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) > 1:
        return
    for number, axes in enumerate(panels):
        if number % columns:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        if number + columns < len(panels):
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)


def test_error(landscape: Landscape) -> float | None:
    """1 - test_accuracy at theta, if the grid has that point and its value."""
    axes = [landscape.alpha] if landscape.beta is None else [landscape.beta, landscape.alpha]
    theta = tuple(int(np.argmin(np.abs(axis))) for axis in axes)
    near = all(abs(axis[i]) <= _ZERO * np.ptp(axis) for axis, i in zip(axes, theta, strict=True))
    if "test_accuracy" not in landscape.values or not near:
        return None
    column = "test_accuracy"
    accuracy = float(Snapshot.of(landscape, column, [column]).values[theta])
    return 1.0 - accuracy if np.isfinite(accuracy) else None

"""`lossgrid plot`: the figure of one landscape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.figures.curves import curves_of, draw_curves, mark_best_of_curves, sides_of
from lossgrid.view.figures.errors import draw_errors
from lossgrid.view.figures.heading import best_note, fit_texts, write_heading
from lossgrid.view.figures.layers import draw_stacks, stacks_of
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plane import (
    draw_plane,
    label_lines,
    mark_best_of_plane,
    planes_of,
)
from lossgrid.view.figures.sheet import add_legend, page, sheet, told
from lossgrid.view.figures.slopes import draw_slopes
from lossgrid.view.figures.spectrum import draw_spectra, spectra_of
from lossgrid.view.figures.trajectory import draw_over_line, draw_over_plane
from lossgrid.view.scale import scale_for
from lossgrid.view.snapshot import Snapshot, is_plane, steepness, words


def plot(results: Landscape, output: Path, options: Options) -> str:
    """Draw a landscape into `output`, a .png, .pdf or .svg file.

    A plane has a panel for each column that is asked for, a line one panel with all of them; of
    layers and spectra see `figures.layers` and `figures.spectrum`.

    Returns: what was written and what is missing, for people.

    Raises:
        UserError: nothing to draw, no such column, no such format, or the file can't be written.
    """
    if options.spectrum:
        return _plot_spectra(results, output, options)
    if options.layers:
        return _plot_layers(results, output, options)
    snapshots = _snapshots(results, options)
    with sheet(output, options, (1, len(snapshots)), _ratio(results)) as figure:
        _draw(figure, results, snapshots, options)
    return told(output, snapshots)


def _plot_spectra(results: Landscape, output: Path, options: Options) -> str:
    if options.columns or options.layers:
        raise UserError("--spectrum draws all that there is; leave out --column and --layers")
    spectra = spectra_of(results)
    with sheet(output, options, (1, spectra.alpha.size)) as figure:
        draw_spectra(figure, results, spectra, title=options.title)
    missing = len(spectra.pending)
    return f"{output}\n{results.name}: {missing} probes missing" if missing else str(output)


def _plot_layers(results: Landscape, output: Path, options: Options) -> str:
    stacks = stacks_of(results, options.columns)
    with sheet(output, options, (1, len(stacks))) as figure:
        draw_stacks(figure, stacks, options)
    return told(output, [stack.snapshot for stack in stacks])


def drawn(results: Landscape, options: Options) -> Figure:
    """The same figure, not written anywhere.

    Raises:
        UserError: nothing to draw, or no such column.
    """
    snapshots = _snapshots(results, options)
    with page(options, (1, len(snapshots)), _ratio(results)) as figure:
        _draw(figure, results, snapshots, options)
        fit_texts(figure)
    return figure


def _snapshots(results: Landscape, options: Options) -> list[Snapshot]:
    """What is drawn, a panel each."""
    if not is_plane(results):
        if options.arrows:
            raise UserError(
                f"{results.name}: is a line, where no arrows can be; leave out --arrows"
            )
        return [curves_of(results, options.columns)]
    if options.errors:
        raise UserError(
            f"{results.name}: is a plane; draw its errors with --column, such as "
            "train_loss_se_data, not with --errors"
        )
    return planes_of(results, options.columns)


def _ratio(results: Landscape) -> float:
    """Height of a panel by its width."""
    if results.beta is None or not is_plane(results):
        return 1.0
    return steepness(results.alpha, results.beta) or 1.0


def _draw(
    figure: Figure, results: Landscape, snapshots: Sequence[Snapshot], options: Options
) -> None:
    if is_plane(results):
        _draw_planes(figure, results, snapshots, options)
    else:
        _draw_line(figure, results, snapshots[0], options)


def _draw_planes(
    figure: Figure, results: Landscape, snapshots: Sequence[Snapshot], options: Options
) -> None:
    """A panel for each column, on its own scale."""
    drawn, legend = [], []
    panels = figure.subplots(1, len(snapshots), squeeze=False)[0]
    for axes, snapshot in zip(panels, snapshots, strict=True):
        values, fraction = snapshot.values, snapshot.is_fraction
        scale = scale_for(values, fraction=fraction, logarithmic=options.logarithmic)
        plane = draw_plane(axes, snapshot, scale, options)
        plane.add_colour_bar()
        drawn.append(plane)
        if options.arrows:
            draw_slopes(axes, results, snapshot)
        if options.trajectory:
            legend = draw_over_plane(axes, results.trajectories)
        if options.title:
            write_heading(axes, _title(snapshot), _notes(snapshot))
            if snapshot.is_ranked and not scale.constant:
                mark_best_of_plane(axes, snapshot)
    add_legend(figure, legend)
    label_lines(figure, drawn)


def _draw_line(figure: Figure, results: Landscape, line: Snapshot, options: Options) -> None:
    axes = figure.add_subplot()
    sides = sides_of([line], options)
    curves = draw_curves(axes, line, sides)
    if options.errors:
        draw_errors(curves, sides, results, line)
    legend = curves.lines
    if options.trajectory:
        legend = [*legend, *draw_over_line(axes, results.trajectories, line)]
    if options.title:
        write_heading(axes, _title(line), _notes(line))
        if line.is_ranked and not sides[0].scale.constant:
            mark_best_of_curves(axes, line)
    add_legend(figure, legend)


def _notes(snapshot: Snapshot) -> list[str]:
    told = (best_note(snapshot), snapshot.averaged(), snapshot.gaps())
    return [note for note in told if note]


def _title(snapshot: Snapshot) -> str:
    return f"{snapshot.name}: {words(snapshot.column)}"

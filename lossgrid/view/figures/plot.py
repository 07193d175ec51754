"""`lossgrid plot`: the figure of one landscape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from lossgrid.view.figures.sheet import add_legend, gaps_of, page, sheet
from lossgrid.view.figures.slopes import draw_slopes
from lossgrid.view.figures.spectrum import draw_spectra, spectra_of
from lossgrid.view.figures.trajectory import draw_over_line, draw_over_plane
from lossgrid.view.scale import scale_for
from lossgrid.view.snapshot import Snapshot, is_plane, steepness, words


@dataclass(frozen=True)
class _Drawing:
    """What is to be drawn, before there is a figure.

    Attributes:
        draw: does it.
        panels: that stand in a row.
        gaps: what is missing, in words.
        ratio: height of a panel by its width.
    """

    draw: Callable[[Figure], None]
    panels: int
    gaps: Sequence[str]
    ratio: float = 1.0


def plot(results: Landscape, output: Path, options: Options) -> str:
    """Draw a landscape into `output`, a .png, .pdf or .svg file.

    A plane has a panel for each column that is asked for, a line one panel with all of them; of
    layers and spectra see `figures.layers` and `figures.spectrum`.

    Returns: what was written and what is missing, for people.

    Raises:
        UserError: nothing to draw, no such column, no such format, or the file can't be written.
    """
    drawing = _drawing(results, options)
    with sheet(output, options, (1, drawing.panels), drawing.ratio) as figure:
        drawing.draw(figure)
    return "\n".join([str(output), *drawing.gaps])


def drawn(results: Landscape, options: Options) -> Figure:
    """The same figure, not written anywhere.

    Raises:
        UserError: nothing to draw, or no such column.
    """
    drawing = _drawing(results, options)
    with page(options, (1, drawing.panels), drawing.ratio) as figure:
        drawing.draw(figure)
        fit_texts(figure)
    return figure


def _drawing(results: Landscape, options: Options) -> _Drawing:
    if options.spectrum:
        return _spectra(results, options)
    if options.layers:
        return _layers(results, options)
    snapshots = _snapshots(results, options)
    if is_plane(results):
        draw = partial(_draw_planes, results=results, snapshots=snapshots, options=options)
    else:
        draw = partial(_draw_line, results=results, line=snapshots[0], options=options)
    return _Drawing(draw, len(snapshots), gaps_of(snapshots), _ratio(results))


def _spectra(results: Landscape, options: Options) -> _Drawing:
    if options.columns or options.layers:
        raise UserError("--spectrum draws all that there is; leave out --column and --layers")
    spectra = spectra_of(results)
    gaps = [f"{results.name}: {n} probes {why}" for why, n in spectra.lacking().items()]
    draw = partial(draw_spectra, results=results, spectra=spectra, title=options.title)
    return _Drawing(draw, spectra.alpha.size, gaps)


def _layers(results: Landscape, options: Options) -> _Drawing:
    stacks = stacks_of(results, options.columns)
    draw = partial(draw_stacks, stacks=stacks, options=options)
    return _Drawing(draw, len(stacks), gaps_of(stack.snapshot for stack in stacks))


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

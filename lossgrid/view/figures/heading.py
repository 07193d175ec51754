"""What stands above the axes: a name, and beneath it what is worth knowing."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter

from lossgrid.view.scale import number, scale_for
from lossgrid.view.snapshot import Snapshot

_NOTE_SIZE = 0.8
_LINE = 1.25
_GROWTH = 1.1  # of a text in another resolution, at most
_ABOVE_TICKS = 0.75  # of the title's own distance: a tick's label may reach as high


def write_heading(axes: Axes, heading: str, notes: Iterable[str]) -> None:
    """Write a heading and, smaller, a line for each note."""
    lines = list(notes)
    size, pad = _NOTE_SIZE * rcParams["font.size"], rcParams["axes.titlepad"]
    axes.set_title(heading, pad=pad + _LINE * size * len(lines), parse_math=False)
    axes.annotate(
        "\n".join(lines),
        (0.5, 1.0),
        xytext=(0.0, _ABOVE_TICKS * pad),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="bottom",
        size=size,
        linespacing=_LINE,
        color="0.3",
        gid="note",
    )


def fit_texts(figure: Figure) -> None:
    """Keep headings, notes and the labels of vertical axes within the sheet."""
    figure.draw_without_rendering()
    _fit_headings(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what is moved now moves nothing else
    _move_labels(figure)


def _fit_headings(figure: Figure) -> None:
    """Make headings and notes that are wider than their panel as small as it takes."""
    width = figure.bbox.width
    for axes in figure.axes:
        place = axes.get_subplotspec()
        columns = place.get_gridspec().ncols if place else 1
        middle = (axes.bbox.x0 + axes.bbox.x1) / 2
        room = 0.98 * min(2 * middle, 2 * (width - middle), width / columns)
        for text in (axes.title, *(text for text in axes.texts if text.get_gid() == "note")):
            taken = text.get_window_extent().width
            if taken > room:
                text.set_fontsize(text.get_fontsize() * room / taken)


def _move_labels(figure: Figure) -> None:
    """Move labels of vertical axes that reach out of the sheet, beside axes that are low."""
    sheet = figure.bbox
    for axes in figure.axes:
        label = axes.yaxis.label
        box = label.get_window_extent().expanded(1.0, _GROWTH)
        within = min(0.0, sheet.y1 - box.y1) or max(0.0, sheet.y0 - box.y0)
        label.set_y(label.get_position()[1] + within / axes.bbox.height)


def best_note(snapshot: Snapshot) -> str:
    """The best point and its value, the value that all points have, or nothing if none is best."""
    scale = scale_for(snapshot.values, fraction=snapshot.is_fraction)
    value = scale.text(float(snapshot.values.flat[snapshot.best]))
    if scale.constant:
        return Formatter.fix_minus(f"constant: {value}")
    if not snapshot.is_ranked:
        return ""
    alpha, beta = map(number, snapshot.best_place)
    place = rf"$\alpha$ = {alpha}"
    if snapshot.beta is not None:
        place = rf"($\alpha$, $\beta$) = ({alpha}, {beta})"
    kind = "maximum" if snapshot.is_fraction else "minimum"
    return Formatter.fix_minus(rf"$\bigstar$ {kind} {value} at {place}")


def mark_best(axes: Axes, x: float, y: float) -> None:
    """A star at the best point."""
    axes.plot(x, y, "*", ms=7, mfc="white", mec="black", mew=0.6, clip_on=False, zorder=5)

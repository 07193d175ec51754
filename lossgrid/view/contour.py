"""The first picture of a landscape: contours of a plane, curves of a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import PENDING
from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.saving import whole
from lossgrid.view.scale import Scale, number, scale_for
from lossgrid.view.snapshot import Snapshot, choose_column
from lossgrid.view.thinning import drawn_lattice

try:
    import matplotlib
    from matplotlib import patheffects
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
except ImportError as missing:
    raise UserError(
        f"pictures need matplotlib ({missing}): pip install 'lossgrid[view]'"
    ) from missing

_FORMATS = (".png", ".pdf", ".svg")
_DPI = 200
_COLOURS = "viridis"
_MOST_DRAWN = 1000
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "pdf.fonttype": 42,
    "text.usetex": False,
}


def plot_contour(results: Landscape, column: str | None, output: Path) -> Path:
    """Draw one column of a landscape into `output`, a .png (200 dpi), .pdf or .svg file.

    A plane becomes filled contours with labelled lines, points that are missing left blank; a
    line becomes one curve for each split. `column` None means test_loss, else the first loss,
    else the first column.

    Returns `output`. Raises UserError if there is no such column, nothing finite to draw, the
    suffix is another one, or the file can't be written.
    """
    output = Path(output)
    if output.suffix.lower() not in _FORMATS:
        raise UserError(
            f"{output}: a picture's name must end in one of {', '.join(_FORMATS)}, "
            f"not in {output.suffix!r}"
        )
    snapshot = _snapshot(results, choose_column(list(results.values), column))
    with matplotlib.rc_context(_STYLE):
        _save(_draw(snapshot), output)
    return output


def _snapshot(results: Landscape, column: str) -> Snapshot:
    plane = results.beta is not None and min(results.alpha.size, results.beta.size) > 1
    snapshot = Snapshot.of(results, column, [column] if plane else _splits(results, column))
    snapshot.check_drawable()
    return snapshot


def _splits(results: Landscape, column: str) -> list[str]:
    """The columns that hold the same metric of each split."""
    metric = column.partition("_")[2]
    return [name for name in results.values if name.partition("_")[2] == metric]


def _draw(snapshot: Snapshot) -> Figure:
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    if snapshot.beta is None or min(snapshot.status.shape) == 1:
        _draw_curves(axes, snapshot)
    else:
        _draw_plane(figure, axes, snapshot, snapshot.beta)
    title = f"{snapshot.name}: {_words(snapshot.column)}"
    figure.suptitle(title, fontsize=11, parse_math=False)
    notes = [_best_label(snapshot), snapshot.gaps()]
    axes.set_title("\n".join(filter(None, notes)), fontsize=8, color="0.3")
    return figure


def _draw_plane(figure: Figure, axes: Axes, snapshot: Snapshot, beta: NDArray[np.float64]) -> None:
    rows, columns = drawn_lattice(snapshot.status, _MOST_DRAWN)
    alpha = snapshot.alpha
    values = np.ma.masked_invalid(snapshot.values[np.ix_(rows, columns)])
    scale = scale_for(snapshot.values, fraction=snapshot.is_fraction)
    if scale.constant:
        _fill_constant(axes, alpha[columns], beta[rows], values)
    else:
        filled = _fill_contours(axes, alpha[columns], beta[rows], values, scale)
        _add_colour_bar(figure, axes, filled, scale, _words(snapshot.column))
        iy, ix = np.unravel_index(snapshot.best, snapshot.status.shape)
        _mark(axes, float(alpha[ix]), float(beta[iy]))
    axes.set(xlabel=r"$\alpha$", ylabel=r"$\beta$")
    axes.set(xlim=(alpha[0], alpha[-1]), ylim=(beta[0], beta[-1]))
    if 1 / 3 <= np.ptp(beta) / np.ptp(alpha) <= 3:
        axes.set_aspect("equal")


def _fill_contours(
    axes: Axes,
    alpha: NDArray[np.float64],
    beta: NDArray[np.float64],
    values: Any,
    scale: Scale,
) -> QuadContourSet:
    """Colours, close to continuous, and labelled lines; masked `values` (ny, nx) stay blank."""
    norm = (LogNorm if scale.logarithmic else Normalize)(scale.low, scale.high)
    shown = values.clip(scale.low, scale.high)
    filled = axes.contourf(alpha, beta, shown, scale.filled_levels(), cmap=_COLOURS, norm=norm)
    # As vectors, neighbouring levels would show hairlines between them.
    filled.set_rasterized(True)
    lines = axes.contour(
        alpha, beta, shown, scale.line_levels(), colors="white", linewidths=0.6, alpha=0.8
    )
    outline = patheffects.withStroke(linewidth=1.2, foreground="0.2")
    for label in axes.clabel(lines, fmt=number, fontsize=6.5, colors="white"):
        label.set(path_effects=[outline], alpha=1.0)
    return filled


def _add_colour_bar(
    figure: Figure, axes: Axes, filled: QuadContourSet, scale: Scale, label: str
) -> None:
    # An inset keeps the height of the axes, whatever their aspect.
    bar = figure.colorbar(filled, cax=axes.inset_axes((1.03, 0.0, 0.045, 1.0)))
    bar.ax.yaxis.set_major_locator(FixedLocator(scale.line_levels()))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    bar.set_label(f"{label} (log scale)" if scale.logarithmic else label)


def _fill_constant(
    axes: Axes, alpha: NDArray[np.float64], beta: NDArray[np.float64], values: Any
) -> None:
    """One colour: a constant surface has no contours."""
    axes.pcolormesh(alpha, beta, values, cmap=_COLOURS, shading="nearest")


def _draw_curves(axes: Axes, snapshot: Snapshot) -> None:
    """One curve for each split, along the only axis with length."""
    along, label = snapshot.alpha, r"$\alpha$"
    if snapshot.beta is not None and snapshot.beta.size > along.size:
        along, label = snapshot.beta, r"$\beta$"
    computed = snapshot.status.ravel() != PENDING
    for name, values in snapshot.curves.items():
        finite = np.where(np.isfinite(values), values, np.nan).ravel()[computed]
        dots = "." if finite.size <= 101 else ""
        style = "-" if name == snapshot.column else "--"
        axes.plot(along[computed], finite, ls=style, marker=dots, lw=1.3, label=_words(name))
    _mark(axes, float(along[snapshot.best]), float(snapshot.values.flat[snapshot.best]))
    shown = np.concatenate([values.ravel() for values in snapshot.curves.values()])
    scale = scale_for(shown, fraction=snapshot.is_fraction)
    if scale.logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(scale.low / 1.5, scale.high * 1.5)
    axes.set(xlabel=label, ylabel=_words(snapshot.column.partition("_")[2]))
    if along.size > 1:
        margin = 0.02 * np.ptp(along)
        axes.set_xlim(along[0] - margin, along[-1] + margin)
    axes.grid(color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _mark(axes: Axes, x: float, y: float) -> None:
    axes.plot(x, y, "*", ms=10, mfc="white", mec="black", mew=0.7, clip_on=False, zorder=5)


def _best_label(snapshot: Snapshot) -> str:
    kind = "maximum" if snapshot.is_fraction else "minimum"
    value = number(float(snapshot.values.flat[snapshot.best]))
    if scale_for(snapshot.values, fraction=snapshot.is_fraction).constant:
        return f"constant: {value}"
    if snapshot.beta is None:
        place = rf"$\alpha$ = {number(float(snapshot.alpha[snapshot.best]))}"
    else:
        iy, ix = np.unravel_index(snapshot.best, snapshot.status.shape)
        alpha, beta = number(float(snapshot.alpha[ix])), number(float(snapshot.beta[iy]))
        place = rf"($\alpha$, $\beta$) = ({alpha}, {beta})"
    return rf"$\bigstar$ {kind} {value} at {place}"


def _words(column: str) -> str:
    return column.replace("_", " ")


def _save(figure: Figure, output: Path) -> None:
    with whole(output) as partial:
        figure.savefig(partial, dpi=_DPI, format=output.suffix[1:].lower())

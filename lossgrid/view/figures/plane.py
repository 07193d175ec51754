"""A plane: filled contours, contour lines, or a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, LogNorm, Normalize
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Affine2D, Bbox
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.figures.heading import mark_best
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.ticks import MOST_STEPS, STEPS, Few, Levels
from lossgrid.view.scale import Scale
from lossgrid.view.snapshot import Snapshot, choose_column, steepness, words
from lossgrid.view.thinning import drawn_lattice

_MOST_DRAWN = 1000
_DARK_PART = 0.85  # of the colour map: the rest is too light for lines on white paper
_LIGHT = 0.36  # the luminance from which black reads better than white
_LABEL_SIZE = 0.75
_CLEARANCE = 1.15


@dataclass(frozen=True)
class Plane:
    """A plane that is drawn: its filled contours or heat map, and its contour lines, if any."""

    axes: Axes
    snapshot: Snapshot
    scale: Scale
    levels: Sequence[float]
    colours: ScalarMappable | None = None
    lines: ContourSet | None = None

    def add_colour_bar(self, beside: Sequence[Axes] | None = None) -> None:
        """Explain the colours beside the axes, or beside all those that share them."""
        if self.colours is None:
            return
        figure = self.axes.get_figure()
        assert isinstance(figure, Figure)
        # An inset keeps the height of its axes, whatever their aspect.
        place: dict[str, Any] = (
            {"cax": self.axes.inset_axes((1.04, 0.0, 0.05, 1.0))}
            if beside is None
            else {"ax": beside, "fraction": 0.03, "pad": 0.02, "aspect": 8 * figure.get_figheight()}
        )
        bar = figure.colorbar(self.colours, spacing="uniform", **place)
        bar.ax.yaxis.set_major_locator(Levels(self.levels))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: self.text(value)))
        label = words(self.snapshot.column)
        bar.set_label(f"{label} (log scale)" if self.scale.logarithmic else label)

    def text(self, value: float) -> str:
        """A value as the figure writes it."""
        return Formatter.fix_minus(self.scale.text(value))


def planes_of(results: Landscape, wanted: Sequence[str]) -> list[Snapshot]:
    """A plane once for each column that is wanted, or for the main one.

    Raises:
        UserError: there is no such column, or one has no finite value.
    """
    asked: Sequence[str | None] = list(dict.fromkeys(wanted)) or [None]
    columns = [choose_column(results, column) for column in asked]
    snapshots = [Snapshot.of(results, column, [column]) for column in columns]
    for snapshot in snapshots:
        snapshot.check_drawable()
    return snapshots


def draw_plane(axes: Axes, snapshot: Snapshot, scale: Scale, options: Options) -> Plane:
    """Draw a plane's column; what is missing stays blank.

    An unfinished plane shows its finest complete lattice.

    Raises:
        UserError: none of the wanted levels is on the scale, or a heat map has any.
    """
    assert snapshot.beta is not None
    rows, columns = drawn_lattice(snapshot.status, _MOST_DRAWN)
    alpha, beta = snapshot.alpha[columns], snapshot.beta[rows]
    values = np.ma.masked_invalid(snapshot.values[np.ix_(rows, columns)])
    shown = values.clip(scale.low, scale.high)
    levels = _levels(scale, options, snapshot.column)
    colours: ScalarMappable | None = None
    lines: ContourSet | None = None
    if scale.constant:
        axes.pcolormesh(alpha, beta, values, shading="nearest")
    elif options.kind == "heat":
        norm = (LogNorm if scale.logarithmic else Normalize)(scale.low, scale.high)
        # As vectors, neighbouring points would show hairlines between them.
        colours = axes.pcolormesh(alpha, beta, shown, norm=norm, shading="nearest", rasterized=True)
    elif options.kind == "lines":
        lines = _draw_lines(axes, (alpha, beta, shown), levels, _line_colours(levels))
    else:
        edges = [scale.low, *levels, scale.high]
        bands = _colour_map().resampled(len(edges) - 1)
        norm = BoundaryNorm(edges, bands.N)
        colours = axes.contourf(alpha, beta, shown, edges, cmap=bands, norm=norm)
        # Lines on all the edges also cover the hairlines between neighbouring bands.
        lines = _draw_lines(axes, (alpha, beta, shown), levels, _readable_on(bands))
    _frame(axes, snapshot.alpha, snapshot.beta)
    return Plane(axes, snapshot, scale, levels, colours, lines)


def label_lines(figure: Figure, planes: Sequence[Plane]) -> None:
    """Write levels on their lines where there is room, once all else is drawn."""
    figure.draw_without_rendering()  # where there is room depends on the layout
    size = _LABEL_SIZE * matplotlib.rcParams["font.size"]
    for plane in planes:
        if plane.lines is not None:
            axes = plane.axes
            labels = axes.clabel(plane.lines, inline=False, fmt=plane.text, fontsize=size)
            _leave_out(plane.lines, axes, _keep_those_with_room(axes, labels))


def mark_best_of_plane(axes: Axes, snapshot: Snapshot) -> None:
    """Put the star at the best point."""
    mark_best(axes, *snapshot.best_place)


def _levels(scale: Scale, options: Options, column: str) -> list[float]:
    if options.levels is not None and options.kind == "heat":
        raise UserError("--levels: a heat map has no contour lines; leave --kind heat out")
    levels = scale.line_levels(options.levels)
    if options.levels is not None and not levels:
        raise UserError(
            f"--levels: none of them is within {column}, which is from {scale.low:.4g} to "
            f"{scale.high:.4g}"
        )
    return levels


def _colour_map() -> Colormap:
    return matplotlib.colormaps[matplotlib.rcParams["image.cmap"]]


def _line_colours(levels: Sequence[float]) -> list[Any]:
    return list(_colour_map()(np.linspace(0, _DARK_PART, len(levels))))


def _readable_on(bands: Colormap) -> list[str]:
    """For each line between two bands the one of black and white that stands out from them."""
    colours = bands(np.arange(bands.N))[:, :3]
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]  # IEC 61966-2-1
    between = (luminance[1:] + luminance[:-1]) / 2
    return ["0.1" if light else "1.0" for light in between > _LIGHT]


def _draw_lines(
    axes: Axes, surface: tuple[Any, Any, Any], levels: Sequence[float], colours: Sequence[Any]
) -> ContourSet | None:
    """Contour lines at those levels that the drawn values reach."""
    low, high = surface[2].min(), surface[2].max()
    reached = [(level, c) for level, c in zip(levels, colours, strict=True) if low < level < high]
    if not reached:
        return None
    return axes.contour(
        *surface, [level for level, _ in reached], colors=[c for _, c in reached], linestyles="-"
    )


def _frame(axes: Axes, alpha: NDArray[np.float64], beta: NDArray[np.float64]) -> None:
    axes.set(
        xlabel=r"$\alpha$", ylabel=r"$\beta$", xlim=(alpha[0], alpha[-1]), ylim=(beta[0], beta[-1])
    )
    axes.xaxis.set_major_locator(Few())
    # Its labels need not share a line; and if they changed with the layout, it would not hold them.
    axes.yaxis.set_major_locator(MaxNLocator(MOST_STEPS, steps=STEPS))
    if steepness(alpha, beta) is not None:
        axes.set_aspect("equal")


def _keep_those_with_room(axes: Axes, labels: Sequence[Text]) -> list[Text]:
    """Remove labels that reach out of the axes, over each other or over marks and paths."""
    drawn = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    taken: list[Bbox] = []
    kept = []
    for label in labels:
        box = label.get_window_extent().expanded(_CLEARANCE, _CLEARANCE)
        inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
        free = not any(_touches(path, box) for path in drawn)
        if inside and free and not box.count_overlaps(taken):
            taken.append(box)
            kept.append(label)
        else:
            label.remove()
    return kept


def _touches(path: Path, box: Bbox) -> bool:
    """Whether a path, which may be a single point, comes into a box."""
    return bool(box.count_contains(path.vertices)) or path.intersects_bbox(box, filled=False)


def _leave_out(lines: ContourSet, axes: Axes, labels: Sequence[Text]) -> None:
    """Clip lines so that none runs through a label."""
    to_data = axes.transData.inverted()
    holes = []
    for label in labels:
        angle = label.get_rotation()
        label.set_rotation(0)
        box = label.get_window_extent().expanded(_CLEARANCE, 1)
        label.set_rotation(angle)
        x, y = axes.transData.transform(label.get_position())
        turned = Affine2D().rotate_deg_around(x, y, angle)
        corners = [(box.x0, box.y0), (box.x0, box.y1), (box.x1, box.y1), (box.x1, box.y0)]
        holes.append((turned + to_data).transform(corners))
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    # A hole is what runs clockwise within an outline that runs the other way.
    outline = np.array([(left, bottom), (right, bottom), (right, top), (left, top)])
    polygons = [Path(np.append(p, p[:1], axis=0), closed=True) for p in (outline, *holes)]
    lines.set_clip_path(Path.make_compound_path(*polygons), axes.transData)

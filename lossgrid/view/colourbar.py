"""A colour bar as a picture, to stand beside another."""

from __future__ import annotations

import io

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from lossgrid.view.scale import Scale, number

_DPI = 100
_TEXT_OF_WIDTH = 0.125
_LEAST_POINTS = 7.0


def colour_bar(
    scale: Scale, colours: Colormap, label: str, size: tuple[int, int], text: tuple[int, int, int]
) -> Image.Image:
    """Draw a bar of `scale` with a few round values, on a transparent ground.

    Args:
        scale: the range of values; not constant.
        colours: from its lowest to its highest.
        label: what the values are.
        size: width and height in pixels.
        text: red, green and blue from 0 to 255 of all that is written.
    """
    colour = [part / 255 for part in text]
    points = max(_LEAST_POINTS, 72 / _DPI * size[0] * _TEXT_OF_WIDTH)
    inches = [(pixels + 0.5) / _DPI for pixels in size]  # it is cut down to whole pixels
    figure = Figure(figsize=(inches[0], inches[1]), dpi=_DPI)
    axes = figure.add_axes((0.03, 0.25, 0.14, 0.5))
    norm = (LogNorm if scale.logarithmic else Normalize)(scale.low, scale.high)
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=axes)
    bar.outline.set_visible(False)
    axes.yaxis.set_major_locator(FixedLocator(scale.line_levels()))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.tick_params(colors=colour, labelsize=points, width=points / 12, length=points / 3)
    bar.set_label(label, color=colour, fontsize=points, parse_math=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", transparent=True)
    return Image.open(file).convert("RGBA")

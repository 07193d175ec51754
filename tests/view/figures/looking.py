"""Looking at a figure that has been drawn: its texts, colours and what a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lossgrid.view import Landscape
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plot import plot

SVG = "{http://www.w3.org/2000/svg}"
WHITE = (255, 255, 255)


def plotted(made: Landscape, folder: Path, options: Options | None = None) -> ElementTree.Element:
    """The figure of a landscape as SVG with its texts as such."""
    style = folder / "texts.mplstyle"
    style.write_text("svg.fonttype: none")
    output = folder / "plotted.svg"
    plot(made, output, replace(options or Options(), style=style))
    return ElementTree.parse(output).getroot()


def texts(drawing: ElementTree.Element) -> list[str]:
    """All texts, in the order in which they are drawn."""
    found = ["".join(text.itertext()).split() for text in drawing.iter(f"{SVG}text")]
    return [" ".join(words).replace("\N{MINUS SIGN}", "-") for words in found]


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """What it looks like: (height, width, 3), top row first."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def colours(axes: Axes, points: Sequence[tuple[float, float]]) -> list[tuple[int, ...]]:
    """The colours at points of the axes."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    picture = pixels(figure)
    places = axes.transData.transform(points).astype(int)
    return [tuple(picture[len(picture) - 1 - y, x].tolist()) for x, y in places]

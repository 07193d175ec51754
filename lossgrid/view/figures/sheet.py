"""The sheet that a figure is drawn on, and the file it ends in."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lossgrid.errors import UserError
from lossgrid.view.figures.heading import fit_texts
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.style import styled
from lossgrid.view.saving import whole
from lossgrid.view.snapshot import Snapshot

# Without the date, the same figure is the same file.
_UNDATED = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
_PANEL = (2 / 3, 3 / 4)
_AROUND = 0.45  # of the height of a square plane's figure: title, ticks, legend
_HANDLE, _CHARACTER = 5.0, 0.55  # widths in a legend, by the size of the font


class Sheet(Figure):
    """A figure that notebooks show, also where no backend of matplotlib's is loaded."""

    def _repr_png_(self) -> bytes:
        drawn = BytesIO()
        self.savefig(drawn, format="png")
        return drawn.getvalue()


@contextmanager
def sheet(
    output: Path, options: Options, panels: tuple[int, int] = (1, 1), ratio: float = 1.0
) -> Iterator[Figure]:
    """A figure to draw on in the right style, written into `output` once it is drawn.

    Args:
        output: a .png, .pdf or .svg file.
        options: say style and size. Without a size, one panel has the style's, and each of
            several about two thirds of it.
        panels: rows and columns.
        ratio: height of what is drawn by its width, which a figure without a size follows.

    Raises:
        UserError: the suffix is another one, the style can't be read, the size is too small for
            what is drawn, or the file can't be written.
    """
    suffix = output.suffix.lower()
    if suffix not in _UNDATED:
        raise UserError(
            f"{output}: a figure's name must end in one of {', '.join(_UNDATED)}, "
            f"not in {output.suffix!r}"
        )
    with page(options, panels, ratio) as figure:
        yield figure
        fit_texts(figure)
        with whole(output) as partial:
            figure.savefig(partial, format=suffix[1:], metadata=_UNDATED[suffix])


@contextmanager
def page(
    options: Options, panels: tuple[int, int] = (1, 1), ratio: float = 1.0
) -> Iterator[Figure]:
    """A figure to draw on in the right style; otherwise as `sheet`.

    Raises:
        UserError: the style can't be read, or the size is too small for what is drawn.
    """
    with styled(options.style), warnings.catch_warnings():
        warnings.filterwarnings("error", ".* not applied because axes sizes collapsed")
        # Compressed, panels of equal aspect stand close to each other.
        layout = ConstrainedLayoutEngine(compress=panels != (1, 1))
        figure = Sheet(figsize=options.size or _size(panels, ratio), layout=layout)
        try:
            yield figure
        except UserWarning:
            width, height = figure.get_size_inches()
            raise UserError(
                f"--size {width:g} {height:g}: leaves no room for the axes; choose a larger one"
            ) from None


def add_legend(figure: Figure, artists: Iterable[Artist]) -> None:
    """Explain artists below all axes, each label once, with as many in a row as fit."""
    handles = {str(artist.get_label()): artist for artist in artists}
    if not handles:
        return
    room = figure.get_figwidth() * 72 / matplotlib.rcParams["font.size"]
    wide = [_HANDLE + _CHARACTER * len(label) for label in handles]
    columns = len(handles) if sum(wide) <= room else max(1, int(room / max(wide)))
    legend = figure.legend(handles=[*handles.values()], loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)


def gaps_of(snapshots: Iterable[Snapshot]) -> list[str]:
    """What is missing of each landscape, in words; what is missing of all its columns once."""
    gaps = [f"{snapshot.name}: {snapshot.gaps()}" for snapshot in snapshots if snapshot.gaps()]
    return list(dict.fromkeys(gaps))


def _size(panels: tuple[int, int], ratio: float) -> tuple[float, float]:
    width, height = matplotlib.rcParams["figure.figsize"]
    height *= _AROUND + (1 - _AROUND) * ratio
    rows, columns = panels
    across, down = (1.0, 1.0) if rows * columns == 1 else _PANEL
    return width * columns * across, height * rows * down

"""A preview in a terminal: coloured cells, braille dots, or plain characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from rich.color import Color
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from lossgrid.store.tally import Tally
from lossgrid.view.preview import BEST, BLANK, MISSED, ODD, SHADES, Cells, Preview

VIRIDIS = "440154 482878 3e4a89 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"
"""Matplotlib's, evenly from low to high."""

GUESSED = 0.7
"""Brightness of cells whose points are not computed yet."""

COLOURS = {ODD: (176, 176, 176), MISSED: (255, 59, 48), BEST: (255, 255, 255)}

RAMP = ".:-=+coO#@"
"""From low to high, where there are no colours."""

LETTERS = {BLANK: " ", ODD: "?", MISSED: "x", BEST: "*"}
WORDS = {ODD: "not finite", MISSED: "failed", BEST: "best"}

BAR = 12
"""Characters of the scale."""

DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bits of the dots of a braille character."""

Line = list[Segment]


@dataclass(frozen=True)
class Characters:
    """A tally as a picture in the width it is given, with three lines below on what it shows.

    Cells have two colours a character where the terminal has colours and UTF-8; letters stand for
    values where it has not. A line becomes a curve.

    Args:
        tally: what is known.
        height: lines to take at most.
    """

    tally: Tally
    height: int

    def lines(self, console: Console, options: ConsoleOptions) -> Iterator[Line]:
        """The lines of the picture, for a terminal and a width; those of text may be wider."""
        width, height = options.max_width, max(self.height - 3, 1)
        preview, utf8 = Preview(self.tally), not options.ascii_only
        colours = console.color_system in ("256", "truecolor") and not console.no_color
        if len(preview.axes) == 1:
            yield from _curve(preview, width, max(height - 1, 1), utf8)
            marks = preview.marks(width)
            yield _letters(marks)
        elif utf8 and colours:
            marks = preview.plane(width, 2 * height, 1.0)
            yield from _half_blocks(marks)
        else:
            marks = preview.plane(width, height, 2.0)
            yield from map(_letters, marks)
        in_colour = utf8 and colours and len(preview.axes) == 2
        yield [Segment(self.tally.column), *_legend(marks, in_colour)]
        yield _scale(preview, in_colour)
        yield _axes(preview, utf8)


def _half_blocks(cells: Cells) -> Iterator[Line]:
    """Two cells a character, one above the other."""
    if len(cells) % 2:
        cells = np.append(cells, np.full((1, cells.shape[1]), BLANK), axis=0)
    for upper, lower in zip(cells[::2].tolist(), cells[1::2].tolist(), strict=True):
        runs = groupby(zip(upper, lower, strict=True))
        yield [_half_block(*pair, len(list(run))) for pair, run in runs]


def _half_block(upper: int, lower: int, count: int) -> Segment:
    if upper == BLANK:
        return Segment((" " if lower == BLANK else "▄") * count, _style(lower, BLANK))
    return Segment("▀" * count, _style(upper, lower))


@cache
def _style(front: int, back: int) -> Style:
    return Style(color=_colour(front), bgcolor=_colour(back))


@cache
def _colour(cell: int) -> Color | None:
    if cell == BLANK:
        return None
    if cell in COLOURS:
        return Color.from_rgb(*COLOURS[cell])
    anchors = np.array([list(bytes.fromhex(colour)) for colour in VIRIDIS.split()])
    place = cell % SHADES / (SHADES - 1) * (len(anchors) - 1)
    rgb = [np.interp(place, np.arange(len(anchors)), channel) for channel in anchors.T]
    return Color.from_rgb(*(float(c) * (1 if cell < SHADES else GUESSED) for c in rgb))


def _letters(cells: Cells) -> Line:
    """One character a cell."""
    letters = [LETTERS.get(cell) or RAMP[cell % SHADES * len(RAMP) // SHADES] for cell in cells]
    return [Segment("".join(letters))]


def _curve(preview: Preview, width: int, height: int, utf8: bool) -> Iterator[Line]:
    if utf8:
        dots = preview.line(2 * width, 4 * height).reshape(height, 4, width, 2)
        for row in (dots * DOTS[:, None]).sum(axis=(1, 3)).tolist():
            yield [Segment("".join(chr(0x2800 + bits) for bits in row))]
    else:
        for row in preview.line(width, height).tolist():
            yield [Segment("".join("*" if dot else " " for dot in row))]


def _axes(preview: Preview, utf8: bool) -> Line:
    directions = "→↑" if utf8 else ">^"
    told = [
        f"{name} {axis[0]:.4g} to {axis[-1]:.4g} {direction}"
        for (name, axis), direction in zip(preview.axes.items(), directions, strict=False)
    ]
    return [Segment(", ".join(told))]


def _scale(preview: Preview, in_colour: bool) -> Line:
    """From which value to which."""
    scale = preview.scale
    if scale is None:
        return [Segment("no value yet")]
    low, high = f"{scale.low:.4g} ", f" {scale.high:.4g}{' log' if scale.logarithmic else ''}"
    if len(preview.axes) == 1:
        return [Segment(f"{low}to{high}")]
    shades = np.linspace(0, SHADES - 1, BAR).astype(int)
    bar = _letters(shades)
    if in_colour:
        bar = [Segment("█", _style(shade, BLANK)) for shade in shades.tolist()]
    return [Segment(low), *bar, Segment(high)]


def _legend(marks: Cells, in_colour: bool) -> Line:
    """What the marks mean that are there."""
    line: Line = []
    for mark in np.intersect1d(marks, list(WORDS)).tolist():
        sign = Segment("█", _style(mark, BLANK)) if in_colour else Segment(LETTERS[mark])
        line += [Segment("  "), sign, Segment(f" {WORDS[mark]}")]
    return line

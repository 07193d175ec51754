"""How a user wants a surface to be photographed."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from lossgrid.errors import UserError

try:
    import matplotlib
    from PIL import ImageColor
except ImportError as missing:
    raise UserError(f"3-D pictures need {missing.name}: pip install 'lossgrid[vtk]'") from missing

_LEAST_SIZE, _MOST_SIZE = 16, 8192


@dataclass(frozen=True)
class Shot:
    """How a surface is photographed.

    Attributes:
        camera: a preset's name, or azimuth,elevation in degrees.
        size: width and height of the picture in pixels.
        background: name or #rrggbb of a colour; None is transparent.
        colours: one of matplotlib's colour maps.
        bar: whether there is a colour bar.
        as_computed: draw flat squares between the computed points, without points between them.
    """

    camera: str = "iso"
    size: tuple[int, int] = (2400, 1800)
    background: str | None = "#0e1116"
    colours: str = "viridis"
    bar: bool = False
    as_computed: bool = False

    def colour_map(self) -> matplotlib.colors.Colormap:
        """matplotlib's colour map of that name.

        Raises:
            UserError: there is none.
        """
        if self.colours not in matplotlib.colormaps:
            nearest = difflib.get_close_matches(self.colours, list(matplotlib.colormaps), n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise UserError(f"--colours {self.colours}: is no colour map of matplotlib{hint}")
        return matplotlib.colormaps[self.colours]

    def background_rgb(self) -> tuple[int, int, int] | None:
        """Red, green and blue from 0 to 255, None where it is transparent.

        Raises:
            UserError: there is no such colour.
        """
        if self.background is None:
            return None
        try:
            return ImageColor.getrgb(self.background)[:3]
        except ValueError:
            raise UserError(
                f"--background {self.background}: is no colour such as white or #0e1116"
            ) from None


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels of a text such as 2400x1800.

    Raises:
        UserError: it is another text, or a picture that is too small or too large.
    """
    found = re.fullmatch(r"(\d{1,9})[xX](\d{1,9})", text)
    if found:
        width, height = map(int, found.groups())
        if min(width, height) >= _LEAST_SIZE and max(width, height) <= _MOST_SIZE:
            return width, height
    raise UserError(
        f"--size {text}: is not a width x height from {_LEAST_SIZE} to {_MOST_SIZE} pixels such as "
        "2400x1800"
    )

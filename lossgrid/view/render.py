"""Pictures and turntables of a landscape in 3-D, drawn off-screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image

from lossgrid.errors import UserError
from lossgrid.view import Landscape
from lossgrid.view.camera import direction
from lossgrid.view.colourbar import colour_bar
from lossgrid.view.compose import compose, photographed
from lossgrid.view.movie import check_movie, write_movie
from lossgrid.view.relief import Look, Relief
from lossgrid.view.saving import whole
from lossgrid.view.scene import Scene
from lossgrid.view.shot import Shot
from lossgrid.view.snapshot import Snapshot, words
from lossgrid.view.studio import pictures

_BAR_SHARE, _LEAST_BAR = 0.16, 60
_SHARES_OF_A_SECOND = 1000
_BLACK, _WHITE, _GREY = (0, 0, 0), (255, 255, 255), (128, 128, 128)


@dataclass(frozen=True)
class Turn:
    """How often a turntable is photographed in one turn, and how many seconds that takes."""

    frames: int = 120
    seconds: float = 6.0


def render(results: Landscape, output: Path, look: Look, shot: Shot) -> str:
    """Photograph a plane into `output`, a .png.

    Returns: what was drawn and what is missing, for people.

    Raises:
        UserError: there is nothing to draw, no way to, or the look or shot can't be had.
    """
    if output.suffix.lower() != ".png":
        raise UserError(f"{output}: a picture's name must end in .png, not in {output.suffix!r}")
    sitting = _Sitting.of(results, look, shot)
    (picture,) = sitting.pictures(sitting.scene)
    with whole(output) as partial:
        picture.save(partial, "PNG")
    return sitting.told(output, "picture")


def render_turntable(results: Landscape, output: Path, look: Look, shot: Shot, turn: Turn) -> str:
    """Photograph a plane from all around into `output`, a .mp4 or .gif; the shot's camera begins.

    Returns: what was drawn and what is missing, for people.

    Raises:
        UserError: as `render`, and if the background is transparent.
    """
    rate = Fraction(turn.frames) / Fraction(turn.seconds).limit_denominator(_SHARES_OF_A_SECOND)
    check_movie(output, shot.size, rate)
    if shot.background is None:
        raise UserError(f"{output}: a movie can't be transparent; choose a --background")
    sitting = _Sitting.of(results, look, shot)
    taken = sitting.pictures(sitting.scene.turning(*direction(shot.camera), turn.frames))
    write_movie(taken, output, shot.size, rate)
    return sitting.told(output, f"turntable, {turn.frames} frames in {turn.seconds:g} s,")


@dataclass(frozen=True)
class _Sitting:
    """A plane set up before the camera, and the colour bar that stands beside its pictures."""

    snapshot: Snapshot
    relief: Relief
    shot: Shot
    scene: Scene
    bar: Image.Image | None

    @classmethod
    def of(cls, results: Landscape, look: Look, shot: Shot) -> _Sitting:
        snapshot, relief = photographed(results, look)
        bar = None
        width, height = shot.size
        if shot.bar and not relief.shown.constant:
            size = (max(_LEAST_BAR, round(_BAR_SHARE * min(shot.size))), height)
            if width < 2 * size[0]:
                raise UserError(f"--bar: takes {size[0]} of {width} pixels; choose a wider --size")
            label, text = words(snapshot.column), _text_on(shot.background_rgb())
            bar = colour_bar(relief.shown, shot.colour_map(), label, size, text)
            width -= bar.width
        scene = compose(snapshot, relief, shot, (width, height))
        return cls(snapshot, relief, shot, scene, bar)

    def pictures(self, scene: Scene) -> Iterator[Image.Image]:
        for picture in pictures(scene):
            if self.bar is None:
                yield picture
                continue
            ground = (0, 0, 0, 0) if scene.background is None else (*scene.background, 255)
            beside = Image.new("RGBA", self.shot.size, ground)
            beside.paste(picture)
            beside.alpha_composite(self.bar, (picture.width, 0))
            yield beside

    def told(self, output: Path, what: str) -> str:
        width, height = self.shot.size
        words = self.relief.words(self.snapshot.column)
        gaps = self.snapshot.gaps()
        said = f"{output}: {what} of {width} x {height} pixels, height {words}"
        return said + (f"\n{self.snapshot.name}: {gaps}" if gaps else "")


def _text_on(background: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """Black or white, whatever is legible; grey is on both."""
    if background is None:
        return _GREY
    red, green, blue = background
    return _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _WHITE

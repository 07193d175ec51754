from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from rich.segment import Segment, Segments

from lossgrid.engine.messages import DONE, FAILED
from lossgrid.lattice import coarse_to_fine, lattice, strides
from lossgrid.store.layout import stored_shape
from lossgrid.store.tally import Tally
from lossgrid.view.characters import Characters
from lossgrid.view.preview import BEST, BLANK, MISSED, ODD, SHADES, Preview


@dataclass
class Grid:
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64] | None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.alpha.size,) if self.beta is None else (self.beta.size, self.alpha.size)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return stored_shape(self.shape)


def known(values: NDArray[np.float64], share: float = 1.0, **axes: NDArray[np.float64]) -> Tally:
    """A tally in which a share of a surface (or line) is known, coarse to fine."""
    shape = values.shape
    alpha = axes.get("alpha", np.linspace(-1, 1, shape[-1]))
    beta = axes.get("beta", np.linspace(-1, 1, shape[0])) if len(shape) == 2 else None
    tally = Tally(Grid(alpha, beta), "test_loss", largest=False)  # type: ignore[arg-type]
    plane = shape if len(shape) == 2 else (1, *shape)
    points = np.concatenate(list(coarse_to_fine(*plane)))[: round(share * values.size)]
    tally.status.flat[points] = DONE
    seen = np.where(tally.status == DONE, values.reshape(tally.status.shape), np.nan)
    tally.values[...] = seen[np.ix_(*tally.kept)]
    return tally


RAMP = np.linspace(1, 2, 32)[:, None] + np.zeros(32)  # grows with beta


def test_a_cell_a_point_shows_each_value() -> None:
    cells = Preview(known(RAMP)).plane(32, 32, 1.0)
    assert cells.shape == (32, 32)
    assert np.array_equal(cells[:, 0], np.rint(np.linspace(SHADES - 1, 0, 32)))  # largest on top
    assert (cells == cells[:, :1]).all()


@pytest.mark.parametrize(
    ("alpha", "beta", "room", "shape"),
    [
        (2, 2, (80, 40), (40, 40)),
        (4, 2, (80, 100), (40, 80)),
        (2, 4, (80, 40), (40, 20)),
        (1, 10, (80, 40), (40, 80)),
    ],
)
def test_a_plane_keeps_its_shape(
    alpha: float, beta: float, room: tuple[int, int], shape: tuple[int, int]
) -> None:
    axes = {"alpha": np.linspace(0, alpha, 32), "beta": np.linspace(0, beta, 32)}
    preview = Preview(known(RAMP, 1.0, **axes))
    assert preview.plane(*room, 1.0).shape == shape
    tall = preview.plane(room[0], room[1] // 2, 2.0).shape
    assert tall == (shape[0] // 2, shape[1])


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 1.0])
def test_what_is_unknown_looks_like_the_nearest_that_is(share: float) -> None:
    """By brute force: the finest lattice whose nearest point is known."""
    values = np.random.default_rng(0).uniform(1, 2, (33, 33))
    tally = known(values, share)
    cells = Preview(tally).plane(33, 33, 1.0)[::-1]
    everything = Preview(known(values)).plane(33, 33, 1.0)[::-1]
    low, high = np.nanmin(tally.values), np.nanmax(tally.values)
    for row in range(33):
        for column in range(33):
            expected = BLANK
            for stride in strides(33, 33):
                nodes = lattice(33, stride)
                options = [nodes[abs(nodes - i) == abs(nodes - i).min()] for i in (row, column)]
                shown = {
                    round((values[r, c] - low) / (high - low) * (SHADES - 1))
                    + (SHADES if stride > 1 else 0)
                    for r in options[0]
                    for c in options[1]
                    if tally.status[r, c] == DONE
                }
                if cells[row, column] in shown:
                    expected = cells[row, column]
                elif len(shown) == len(options[0]) * len(options[1]) == 1:
                    expected = next(iter(shown))
            assert cells[row, column] == expected
    if share == 1.0:
        assert np.array_equal(cells, everything)


def test_marks() -> None:
    tally = known(RAMP)
    tally.status[5, 7] = FAILED
    tally.values[5, 7] = np.nan
    tally.values[20, 3] = np.inf
    tally.best, tally.best_value = 0, 1.0
    cells = Preview(tally).plane(32, 32, 1.0)[::-1]
    assert (cells[5, 7], cells[20, 3], cells[0, 0]) == (MISSED, ODD, BEST)
    assert (cells >= 0).sum() == 32 * 32 - 3
    few = Preview(tally).plane(8, 8, 1.0)[::-1]  # each cell is 4 x 4 points
    assert (few[1, 1], few[0, 0]) == (MISSED, BEST)


def test_a_line_is_a_curve() -> None:
    dots = Preview(known(np.linspace(1, 2, 9))).line(17, 17)
    assert np.array_equal(dots.argmax(axis=0), np.arange(16, -1, -1))
    assert dots.sum(axis=0).max() <= 2


def test_a_curve_ends_where_values_are_not_finite() -> None:
    values = np.array([1.0, 2.0, np.inf, 2.0, 1.0])
    dots = Preview(known(values)).line(9, 5)
    assert dots.any(axis=0).tolist() == [True] * 3 + [False] * 3 + [True] * 3


def drawn(tally: Tally, encoding: str, colours: str | None) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, force_terminal=True, color_system=colours, width=40)  # type: ignore[arg-type]
    for line in Characters(tally, 15).lines(console, console.options):
        console.print(Segments([*line, Segment.line()]), end="")
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def test_characters_of_a_plane() -> None:
    assert "▀" in drawn(known(RAMP), "utf-8", "truecolor")
    assert "38;2;253;231;37" in drawn(known(RAMP), "utf-8", "truecolor")  # viridis' last
    for encoding, colours in (("utf-8", None), ("ascii", "truecolor"), ("utf-8", "standard")):
        lines = drawn(known(RAMP), encoding, colours).splitlines()
        assert lines[0] == "@" * 24
        assert lines[11] == "." * 24
        assert lines[12:14] == ["test_loss", "1 ..:-=+coOO#@ 2"]
        assert lines[14].startswith("alpha -1 to 1 ")
        assert len(lines) == 15


def test_characters_of_a_line() -> None:
    tally = known(np.linspace(1, 2, 9))
    tally.best, tally.best_value = 0, 1.0
    braille = drawn(tally, "utf-8", "truecolor").splitlines()
    assert all(0x2800 <= ord(c) < 0x2900 for line in braille[:11] for c in line)
    assert braille[-1] == "alpha -1 to 1 →"
    plain = drawn(tally, "ascii", None).splitlines()
    assert plain[0].rstrip()[-1] == plain[10].lstrip()[0] == "*"
    assert plain[11].rstrip() == "  *"


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 9), (9, 1), (9, 9), (2, 2)])
def test_nothing_yet_and_a_single_point(shape: tuple[int, ...]) -> None:
    for share in (0.0, 0.01, 1.0):
        for encoding in ("utf-8", "ascii"):
            lines = drawn(known(np.ones(shape), share), encoding, "truecolor").splitlines()
            assert lines[-3] == "test_loss"
            assert (lines[-2] == "no value yet") == (round(share * np.prod(shape)) == 0)

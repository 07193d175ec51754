from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.view.figures.compare import compare
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plot import drawn, plot
from lossgrid.view.figures.style import styled
from tests.view.figures.looking import plotted, texts
from tests.view.landscapes import ALPHA, BETA, BOWL, Made, line, plane, trajectory

DONE = np.ones(BOWL.shape, np.uint8)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def surface(values: NDArray[np.float64], status: NDArray[np.uint8] = DONE) -> Made:
    return plane(
        values={"test_loss": values, "test_accuracy": 1 / (1 + np.abs(values))}, status=status
    )


def narrow(ny: int, nx: int) -> Made:
    part = {"test_loss": BOWL[:ny, :nx], "test_accuracy": 1 / (1 + BOWL[:ny, :nx])}
    return Made(part, ALPHA[:nx], BETA[:ny], np.ones((ny, nx), np.uint8))


def partial() -> Made:
    status = DONE.copy()
    status[5:9, 3:20] = 0
    return surface(np.where(status == 1, BOWL, np.nan), status)


def with_infinity() -> Made:
    values = BOWL.copy()
    values[0], values[-1], values[3, 3] = np.inf, -np.inf, np.nan
    return surface(values)


def one_point() -> Made:
    status = np.zeros(BOWL.shape, np.uint8)
    status[4, 4] = 1
    return surface(np.where(status == 1, BOWL, np.nan), status)


DRAWABLE: dict[str, Callable[[], Made]] = {
    "partial": partial,
    "constant": lambda: surface(np.full(BOWL.shape, 2.3)),
    "zero": lambda: surface(np.zeros(BOWL.shape)),
    "with infinity": with_infinity,
    "one point": one_point,
    "huge": lambda: surface(1e307 * BOWL),
    "negative": lambda: surface(-BOWL),
    "2 x 2": lambda: narrow(2, 2),
}
LINES: dict[str, Callable[[], Made]] = {
    "1 x n": lambda: narrow(1, 25),
    "n x 1": lambda: narrow(17, 1),
    "1 x 1": lambda: narrow(1, 1),
    "line": line,
}


@pytest.mark.parametrize("kind", ["filled", "lines", "heat"])
@pytest.mark.parametrize("surface", DRAWABLE)
def test_any_plane_is_drawn(surface: str, kind: str, tmp_path: Path) -> None:
    made = DRAWABLE[surface]()
    plot(made, tmp_path / "a.png", Options(kind=kind))
    compare([made, plane()], tmp_path / "b.png", Options(kind=kind))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


@pytest.mark.parametrize("name", LINES)
def test_any_line_is_drawn(name: str, tmp_path: Path) -> None:
    plot(LINES[name](), tmp_path / "a.png", Options())
    compare([LINES[name](), line()], tmp_path / "b.png", Options())
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


@pytest.mark.parametrize("made", [plane, line])
@pytest.mark.parametrize(
    ("value", "status", "reason"),
    [
        (np.nan, 0, "100 % of {} points pending"),
        (np.inf, 1, "{} not finite"),
        (np.nan, 2, "{} failed"),
    ],
)
def test_nothing_to_draw_is_told(
    made: Callable[..., Made], value: float, status: int, reason: str, tmp_path: Path
) -> None:
    shape = made().status.shape
    empty = made(
        values={"test_loss": np.full(shape, value)}, status=np.full(shape, status, np.uint8)
    )
    match = r"made: nothing to draw, test_loss has no finite value \(" + reason.format(
        empty.status.size
    )
    with pytest.raises(UserError, match=match):
        plot(empty, tmp_path / "a.png", Options())
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_told_and_drawn(tmp_path: Path) -> None:
    output = tmp_path / "a.png"
    assert plot(plane(), output, Options()) == str(output)
    gaps = "16 % of 425 points pending"
    assert plot(partial(), output, Options()) == f"{output}\nmade: {gaps}"
    assert gaps in texts(plotted(partial(), tmp_path))
    assert gaps not in texts(plotted(partial(), tmp_path, Options(title=False)))


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["train_loss", "test_loss"], "test loss"),
        (["train_accuracy", "train_loss", "val_loss"], "train loss"),
        (["train_accuracy", "test_accuracy"], "train accuracy"),
    ],
)
def test_the_default_column_is_a_loss(columns: list[str], chosen: str, tmp_path: Path) -> None:
    made = plane(values=dict.fromkeys(columns, BOWL / BOWL.max()))
    assert f"made: {chosen}" in texts(plotted(made, tmp_path))


def test_each_column_has_a_panel_on_its_own_scale(tmp_path: Path) -> None:
    made = plane(values={"test_loss": BOWL, "train_samples": 1000 + BOWL})
    said = texts(plotted(made, tmp_path, Options(columns=("train_samples", "test_loss"))))
    assert {"made: train samples", "made: test loss", "test loss (log scale)"} <= set(said)
    assert "train samples" in said


def test_a_column_that_is_missing_is_told(tmp_path: Path) -> None:
    for made in (plane(), line()):
        with pytest.raises(UserError, match="did you mean 'test_loss'"):
            plot(made, tmp_path / "a.png", Options(columns=("tset_loss",)))


@pytest.mark.parametrize("made", [plane(), line()], ids=["plane", "line"])
def test_a_figure_that_is_not_written_is_the_same(made: Made, tmp_path: Path) -> None:
    plot(made, tmp_path / "a.png", Options())
    with styled(None):
        drawn(made, Options()).savefig(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_names_are_not_taken_for_formulas(tmp_path: Path) -> None:
    made = plane(name="$x_{$", trajectories={"$y_{$": trajectory()})
    assert "$x_{$: test loss" in texts(plotted(made, tmp_path))


def long() -> Made:
    return plane(name="resnet56-cifar10-batch-128-weight-decay-5e-4-without-momentum")


FIGURES: dict[str, Callable[[Path, Options], str]] = {
    "filled": lambda path, options: plot(plane(), path, options),
    "partial": lambda path, options: plot(partial(), path, options),
    "long name": lambda path, options: plot(long(), path, options),
    "curves": lambda path, options: plot(line(), path, options),
    "trajectories": lambda path, options: plot(
        plane(trajectories={"sgd": trajectory(), "adam": trajectory()}), path, options
    ),
    "two columns": lambda path, options: plot(
        surface(BOWL), path, replace(options, columns=("test_loss", "test_accuracy"))
    ),
    "compared": lambda path, options: compare([surface(BOWL), partial(), long()], path, options),
    "compared curves": lambda path, options: compare([line()] * 4, path, options),
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("size", [None, (5.5, 4.0)])
def test_no_text_reaches_over_another_or_out_of_the_figure(
    figure: str, size: tuple[float, float] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes: dict[Text, Bbox] = {}
    pages: set[Figure] = set()
    draw = Text.draw

    def remembered(text: Text, renderer: RendererAgg) -> None:
        draw(text, renderer)
        if text.get_text() and renderer.dpi == 300:  # as saved
            boxes[text] = text.get_window_extent(renderer)
            page = text.get_figure(root=True)
            assert page is not None
            pages.add(page)

    monkeypatch.setattr(Text, "draw", remembered)
    FIGURES[figure](tmp_path / "a.png", Options(size=size))
    (page,) = pages
    width, height = page.get_size_inches() * 300
    assert len(boxes) > 10
    for text, box in boxes.items():
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1, text
        over = [o for o, other in boxes.items() if o is not text and _overlap(box, other)]
        assert not over, text


def _overlap(one: Bbox, other: Bbox) -> bool:
    """Whether boxes overlap by more than the air around letters, at 300 dots an inch."""
    shared = Bbox.intersection(one, other)
    return shared is not None and min(shared.width, shared.height) > 3

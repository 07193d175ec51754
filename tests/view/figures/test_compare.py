from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.view.figures import sheet
from lossgrid.view.figures.compare import compare
from lossgrid.view.figures.compare import test_error as error_at_theta
from lossgrid.view.figures.options import Options
from tests.view.landscapes import ALPHA, BOWL, Made, line, plane


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are made, kept after they are saved."""
    kept: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, **named)  # type: ignore[arg-type]
            kept.append(self)

    monkeypatch.setattr(sheet, "Sheet", Kept)
    return kept


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_title()]


def planes(count: int) -> list[Made]:
    return [
        plane(values={"test_loss": (1 + k) * BOWL, "test_accuracy": BOWL / 50}, name=f"net{k}")
        for k in range(count)
    ]


def test_planes_share_levels_and_a_colour_bar(made: list[Figure], tmp_path: Path) -> None:
    compare(planes(3), tmp_path / "a.png", Options())
    (figure,) = made
    titled = panels(figure)
    assert [axes.get_title() for axes in titled] == ["net0", "net1", "net2"]
    (bar,) = [axes for axes in figure.axes if axes not in titled]
    assert bar.get_ylabel() == "test loss (log scale)"
    filled = [
        one
        for axes in titled
        for one in axes.collections
        if isinstance(one, ContourSet) and one.filled
    ]
    assert len(filled) == 3
    levels = filled[0].levels
    assert (levels[0], levels[-1]) == (BOWL.min(), 3 * BOWL.max())
    for one in filled[1:]:
        np.testing.assert_array_equal(one.levels, levels)


def test_panels_are_titled_with_their_test_error(tmp_path: Path) -> None:
    style = tmp_path / "texts.mplstyle"
    style.write_text("svg.fonttype: none")
    accuracy = np.full(BOWL.shape, 0.5)
    accuracy[0, 8] = 0.9411  # alpha = 0, beta = 0
    known = plane(values={"test_loss": BOWL, "test_accuracy": accuracy}, name="known")
    compare([known, plane(name="unknown")], tmp_path / "a.svg", Options(style=style))
    drawing = ElementTree.parse(tmp_path / "a.svg").getroot()
    said = ["".join(text.itertext()) for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert said.count("test error 5.89 %") == 1
    assert {"known", "unknown"} <= set(said)
    compare([known], tmp_path / "a.svg", Options(style=style, title=False))
    assert "test error" not in (tmp_path / "a.svg").read_text()


def test_the_test_error_is_that_at_theta() -> None:
    accuracy = np.linspace(0, 1, BOWL.size).reshape(BOWL.shape)
    values = {"test_loss": BOWL, "test_accuracy": accuracy}
    assert error_at_theta(plane(values=values)) == 1 - accuracy[0, 8]
    assert error_at_theta(plane(values=values, alpha=ALPHA + 0.01)) is None
    assert error_at_theta(plane()) is None
    accuracy[0, 8] = np.nan
    assert error_at_theta(plane(values=values)) is None
    accuracy[0, 8] = 0.1
    values["test_loss"] = np.full(BOWL.shape, np.nan)
    assert error_at_theta(plane(values=values)) is None


@pytest.mark.parametrize(
    ("count", "across", "rows", "columns"),
    [
        (1, None, 1, 1),
        (2, None, 1, 2),
        (4, None, 2, 2),
        (5, None, 2, 3),
        (5, 4, 2, 4),
        (2, 9, 1, 2),
    ],
)
def test_panels_are_arranged(
    count: int, across: int | None, rows: int, columns: int, made: list[Figure], tmp_path: Path
) -> None:
    compare(planes(count), tmp_path / "a.png", Options(kind="heat"), across)
    titled = panels(made[0])
    assert len(titled) == count
    place = titled[0].get_subplotspec()
    assert place is not None
    assert place.get_gridspec().get_geometry() == (rows, columns)
    for number, axes in enumerate(titled):
        assert bool(axes.get_ylabel()) == (number % columns == 0)
        assert bool(axes.get_xlabel()) == (number + columns >= count)


def test_unlike_ranges_have_labels_of_their_own(made: list[Figure], tmp_path: Path) -> None:
    compare([plane(), plane(alpha=2 * ALPHA)], tmp_path / "a.png", Options())
    titled = panels(made[0])
    assert [bool(axes.get_ylabel()) for axes in titled] == [True, True]
    assert titled[1].get_xlim() == (-2, 4)


def test_lines_share_their_axes(made: list[Figure], tmp_path: Path) -> None:
    low, high = line(name="low"), line(name="high")
    high.values = {name: 5 * values for name, values in high.values.items() if "loss" in name}
    compare([low, high], tmp_path / "a.png", Options())
    first, second = panels(made[0])
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[1] > max(values.max() for values in high.values.values())
    legend = made[0].legends[0].get_texts()
    assert sorted(text.get_text() for text in legend) == [
        "test accuracy",
        "test loss",
        "train accuracy",
        "train loss",
    ]


def test_a_gap_is_told_by_panel(tmp_path: Path) -> None:
    status = np.ones(BOWL.shape, np.uint8)
    status[0, 0], status[1] = 2, 0
    said = compare([plane(name="whole"), plane(status=status)], tmp_path / "a.png", Options())
    assert said == f"{tmp_path / 'a.png'}\nmade: 5.88 % of 425 points pending, 1 failed"


def test_planes_are_compared_in_the_main_column_that_all_have(
    made: list[Figure], tmp_path: Path
) -> None:
    both = {"test_loss": BOWL, "train_accuracy": 1 / (1 + BOWL), "train_loss": 2 * BOWL}
    only = {"train_accuracy": 1 / (1 + BOWL), "train_loss": 3 * BOWL}
    compare([plane(values=both), plane(values=only)], tmp_path / "a.png", Options())
    assert "train loss (log scale)" in {axes.get_ylabel() for axes in made[0].axes}


@pytest.mark.parametrize(
    ("landscapes", "options", "reason"),
    [
        ([plane(), line(name="ray")], Options(), "ray and made: a line and a plane have no scale"),
        ([line(), plane(name="sea")], Options(), "sea and made: a line and a plane have no scale"),
        (planes(2), Options(columns=("test_loss", "test_accuracy")), "are compared in one column"),
        (
            [plane(), plane(values={"train_loss": BOWL})],
            Options(),
            "no column is in all files to compare: made has test_loss; made has train_loss",
        ),
        (
            [plane(), plane(values={"train_loss": BOWL}, name="other")],
            Options(columns=("test_loss",)),
            "other: no column 'test_loss'",
        ),
        (
            [plane(), plane(values={"test_loss": np.full(BOWL.shape, np.nan)}, name="empty")],
            Options(),
            "empty: nothing to draw",
        ),
    ],
)
def test_what_cannot_be_compared_is_told(
    landscapes: list[Made], options: Options, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason):
        compare(landscapes, tmp_path / "a.png", options)
    assert not list(tmp_path.iterdir())

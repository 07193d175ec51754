from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from lossgrid.errors import UserError
from lossgrid.lattice import coarse_to_fine
from lossgrid.view import Landscape
from lossgrid.view.contour import _draw, _snapshot, plot_contour
from tests.view.landscapes import ALPHA, BETA, BOWL, Made, plane

WHITE = (255, 255, 255)


def colours(made: Landscape, points: list[tuple[float, float]]) -> list[tuple[int, ...]]:
    """The colours that the picture shows at points (alpha, beta)."""
    figure = _draw(_snapshot(made, "test_loss"))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    places = figure.axes[0].transData.transform(points).astype(int)
    return [tuple(pixels[len(pixels) - 1 - y, x, :3].tolist()) for x, y in places]


def texts(made: Landscape, column: str = "test_loss") -> str:
    figure = _draw(_snapshot(made, column))
    return f"{figure.get_suptitle()}\n{figure.axes[0].get_title()}"


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".PNG"])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"bowl{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot_contour(plane(), None, output) == output
    magic = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix.lower()]
    assert output.read_bytes().startswith(magic)
    assert os.listdir(tmp_path) == [output.name]


def test_a_png_has_200_dots_an_inch(tmp_path: Path) -> None:
    height, width = imread(plot_contour(plane(), None, tmp_path / "a.png")).shape[:2]
    assert (width, height) == (1040, 880)


def test_columns_run_along_alpha_and_rows_along_beta() -> None:
    low, right, up = colours(plane(), [(1.4, 0.3), (-0.9, 0.3), (1.4, 1.9)])
    ramp = np.broadcast_to(ALPHA + 2, BOWL.shape)
    left, left_up, right_ = colours(
        plane(values={"test_loss": ramp}), [(-0.8, 0.3), (-0.8, 1.7), (1.8, 0.3)]
    )
    assert sum(low) < sum(right)
    assert sum(low) < sum(up)
    assert left == left_up
    assert sum(left) < sum(right_)


def test_pending_failed_and_infinite_areas_are_blank() -> None:
    values, status = BOWL.copy(), np.ones(BOWL.shape, np.uint8)
    status[:8, :10] = 0
    status[12:, :4] = 2
    values[status != 1] = np.nan
    values[12:, 20:] = np.inf
    gaps = plane(values={"test_loss": values}, status=status)
    points = [(-0.5, 0.3), (-0.9, 1.8), (1.8, 1.8)]
    assert colours(gaps, points) == [WHITE] * 3
    assert WHITE not in colours(plane(), points)
    assert "18.8 % of 425 points pending, 20 failed, 25 not finite" in texts(gaps)
    assert "pending" not in texts(plane())


def test_an_unfinished_run_shows_its_coarse_picture() -> None:
    alpha, beta = np.linspace(-1, 2, 50), np.linspace(0, 2, 35)
    status = np.zeros(35 * 50, np.uint8)
    status[
        np.concatenate([row for row, _ in zip(coarse_to_fine(35, 50), range(22), strict=False)])
    ] = 1
    status = status.reshape(35, 50)
    assert 0.02 < status.mean() < 0.4
    values = np.where(status == 1, 1.0 + alpha**2, np.nan)
    made = plane(values={"test_loss": values}, status=status, alpha=alpha, beta=beta)
    assert WHITE not in colours(made, [(-0.9, 0.1), (0.5, 1.1), (1.9, 1.9)])
    assert "points pending" in texts(made)


def test_a_value_without_its_status_is_not_shown() -> None:
    values, status = BOWL.copy(), np.ones(BOWL.shape, np.uint8)
    values[4, 4], status[4, 4] = -5.0, 0
    assert "minimum 0.01 at" in texts(plane(values={"test_loss": values}, status=status))


def test_the_best_point_is_named() -> None:
    assert r"minimum 0.01 at ($\alpha$, $\beta$) = (1.5, 0.25)" in texts(plane())
    accurate = plane(values={"test_accuracy": 1 / (1 + BOWL)})
    assert r"maximum 0.9901 at ($\alpha$, $\beta$) = (1.5, 0.25)" in texts(
        accurate, "test_accuracy"
    )


def test_a_constant_surface_says_so() -> None:
    flat = plane(values={"test_loss": np.full(BOWL.shape, 2.3)})
    assert "constant: 2.3" in texts(flat)
    assert WHITE not in colours(flat, [(0.5, 0.5)])


def test_nothing_to_draw_is_told(tmp_path: Path) -> None:
    empty = plane(
        values={"test_loss": np.full(BOWL.shape, np.nan)}, status=np.zeros(BOWL.shape, np.uint8)
    )
    with pytest.raises(UserError, match=r"made: nothing to draw, .* \(100 % of 425 points pend"):
        plot_contour(empty, None, tmp_path / "a.png")
    diverged = plane(values={"test_loss": np.full(BOWL.shape, np.inf)})
    with pytest.raises(UserError, match="425 not finite"):
        plot_contour(diverged, None, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["train_loss", "test_loss"], "test loss"),
        (["train_accuracy", "train_loss", "val_loss"], "train loss"),
        (["train_accuracy", "test_accuracy"], "train accuracy"),
    ],
)
def test_the_default_column_is_a_loss(tmp_path: Path, columns: list[str], chosen: str) -> None:
    made = plane(values=dict.fromkeys(columns, BOWL / BOWL.max()))
    drawn = plot_contour(made, None, tmp_path / "a.svg")
    assert f"<!-- made: {chosen} -->" in drawn.read_text()


def test_a_column_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'test_loss'"):
        plot_contour(plane(), "tset_loss", tmp_path / "a.png")


def test_a_line_has_a_curve_for_each_split() -> None:
    curve = 0.1 + ALPHA**2
    pending = np.ones(25, np.uint8)
    pending[3] = 0
    columns = {"train_loss": curve, "train_accuracy": curve, "test_loss": 2 * curve}
    made = Made(columns, beta=None, status=pending)
    figure = _draw(_snapshot(made, "test_loss"))
    train, test, best = figure.axes[0].lines
    assert [line.get_label() for line in (train, test)] == ["train loss", "test loss"]
    done = pending == 1
    np.testing.assert_array_equal(train.get_xdata(), ALPHA[done])
    np.testing.assert_array_equal(test.get_ydata(), 2 * curve[done])
    assert list(best.get_xdata()) == [0.0]
    assert "4 % of 25 points pending" in texts(made)


@pytest.mark.parametrize("shape", [(1, 25), (17, 1), (1, 1), (2, 2)])
def test_planes_without_width_are_drawn(tmp_path: Path, shape: tuple[int, int]) -> None:
    ny, nx = shape
    made = Made({"test_loss": BOWL[:ny, :nx]}, ALPHA[:nx], BETA[:ny], np.ones(shape, np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot_contour(made, None, tmp_path / "a.png").is_file()


def test_large_grids_are_thinned() -> None:
    axis = np.linspace(-1, 1, 1100)
    values = axis[None] ** 2 + axis[:, None] ** 2 + 1
    made = Made({"test_loss": values}, axis, axis, np.ones(values.shape, np.uint8))
    assert WHITE not in colours(made, [(-0.99, -0.99), (0.99, 0.99)])


def test_values_beyond_the_scale_have_its_end_colours() -> None:
    values = BOWL.copy()
    values[6:11, 5:11] = 0.0
    values[6:11, 15:20] = 1e200
    zero, huge, usual = colours(
        plane(values={"test_loss": values}), [(0.0, 1.0), (1.15, 1.0), (-0.9, 1.9)]
    )
    assert WHITE not in (zero, huge)
    assert sum(zero) < sum(usual) < sum(huge)


def test_names_are_not_taken_for_formulas(tmp_path: Path) -> None:
    assert plot_contour(plane(name="$x_{$"), None, tmp_path / "a.png").is_file()


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=": can't be written"):
        plot_contour(plane(), None, tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="can't be written: Is a directory"):
        plot_contour(plane(), None, tmp_path / "folder.png")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]
    with pytest.raises(UserError, match=r"must end in one of \.png, \.pdf, \.svg"):
        plot_contour(plane(), None, tmp_path / "a.jpg")


def test_folders_of_the_picture_are_made(tmp_path: Path) -> None:
    assert plot_contour(plane(), None, tmp_path / "new" / "a.png").is_file()

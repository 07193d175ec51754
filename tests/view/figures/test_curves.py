from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.view.figures.curves import Curves, curves_of, draw_curves, sides_of
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.style import styled
from tests.view.figures.looking import plotted, texts
from tests.view.landscapes import ALPHA, BETA, Made, line


def drawn(made: Made, **options: object) -> Curves:
    wanted = Options(**options)  # type: ignore[arg-type]
    with styled(None):
        snapshot = curves_of(made, wanted.columns)
        axes = Figure(layout="constrained").add_subplot()
        return draw_curves(axes, snapshot, sides_of([snapshot], wanted))


def labels(axes: Axes) -> list[object]:
    return [one.get_label() for one in axes.lines]


def test_losses_are_on_the_left_and_accuracies_on_the_right() -> None:
    left, right = drawn(line()).axes
    assert labels(left) == ["train loss", "test loss"]
    assert labels(right) == ["train accuracy", "test accuracy"]
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "accuracy")
    assert right.yaxis.get_label_position() == "right"
    np.testing.assert_array_equal(left.lines[1].get_xydata(), np.c_[ALPHA, 0.2 + 2 * ALPHA**2])
    assert right.yaxis.get_major_formatter()(0.25) == "25 %"


def test_train_is_solid_and_test_dashed_whatever_the_order() -> None:
    values = {
        f"{split}_{metric}": 1.0 + ALPHA**2
        for metric in ("loss", "accuracy")
        for split in ("test", "val", "train", "other")
    }
    dashes = {str(one.get_label()): one.get_linestyle() for one in drawn(line(values=values)).lines}
    for metric in ("loss", "accuracy"):
        assert dashes[f"train {metric}"] == "-"
        assert dashes[f"test {metric}"] == "--"
        assert {dashes[f"val {metric}"], dashes[f"other {metric}"]} == {"-.", ":"}


def test_a_metric_has_the_colour_of_its_axis() -> None:
    curves = drawn(line())
    for axes in curves.axes:
        colour = axes.yaxis.label.get_color()
        assert {to_rgb(one.get_color()) for one in axes.lines} == {to_rgb(colour)}
    left, right = curves.axes
    assert left.lines[0].get_color() != right.lines[0].get_color()
    assert drawn(line(), columns=("test_loss",)).axes[0].yaxis.label.get_color() == "black"


def test_columns_that_are_asked_for_are_drawn_alone() -> None:
    (only,) = drawn(line(), columns=("test_accuracy",)).axes
    assert labels(only) == ["test accuracy"]
    left, right = drawn(line(), columns=("test_accuracy", "train_loss")).axes
    assert (labels(left), labels(right)) == (["test accuracy"], ["train loss"])


def test_more_than_two_metrics_are_told() -> None:
    made = line(values={"test_loss": ALPHA, "test_accuracy": ALPHA, "test_margin": ALPHA})
    with pytest.raises(UserError, match="not one each for loss, accuracy, margin"):
        drawn(made, columns=tuple(made.values))


@pytest.mark.parametrize("option", [{"levels": (1.0,)}, {"kind": "heat"}])
def test_what_is_for_planes_is_told(option: dict[str, object]) -> None:
    with pytest.raises(UserError, match="made: is a line; --levels and --kind are for planes"):
        drawn(line(), **option)


def test_labels_of_alpha_stand_apart() -> None:
    with styled(None):
        curves = drawn(line(alpha=np.linspace(-0.5, 1.5, 25)))
        figure = curves.axes[0].get_figure()
        assert isinstance(figure, Figure)
        figure.set_size_inches(3.3, 2.8)
        figure.draw_without_rendering()
        labels = curves.axes[0].get_xticklabels()
        boxes = [label.get_window_extent() for label in labels]
        letter = labels[0].get_fontsize() * figure.dpi / 72
    assert all(right.x0 - left.x1 > letter / 2 for left, right in pairwise(boxes))


def test_pending_points_are_left_out_and_bad_values_are_gaps() -> None:
    status = np.ones(25, np.uint8)
    status[3] = 0
    loss = 1.0 + ALPHA**2
    loss[10], loss[12] = np.inf, np.nan
    (curve,) = drawn(line(values={"train_loss": loss}, status=status)).lines
    x, y = curve.get_data()
    np.testing.assert_array_equal(x, np.delete(ALPHA, 3))
    assert np.isnan(np.asarray(y)[[9, 11]]).all()
    assert np.isfinite(y).sum() == 22
    assert curve.get_marker() == "."


def test_an_accuracy_is_a_gap_where_its_loss_is_nan() -> None:
    loss, accuracy = 1.0 + ALPHA**2, np.full(25, 0.5)
    loss[:3], loss[20] = np.nan, np.inf
    values = {"test_loss": loss, "test_accuracy": accuracy, "train_accuracy": accuracy}
    curves = {str(one.get_label()): one.get_ydata() for one in drawn(line(values=values)).lines}
    shown = np.isfinite(np.asarray(curves["test accuracy"]))
    np.testing.assert_array_equal(shown, np.arange(25) > 2)
    assert np.isfinite(np.asarray(curves["train accuracy"])).all()


def test_an_accuracy_along_one_direction_is_left_out_where_its_loss_is_nan() -> None:
    both = {
        f"test_{metric}_d{draw}": np.ones(25) for draw in (0, 1) for metric in ("loss", "accuracy")
    }
    both["test_loss_d1"] = np.where(ALPHA < 0, np.nan, 1.0)
    mean = {"test_loss": both["test_loss_d1"], "test_accuracy": np.ones(25)}
    draws = curves_of(line(values=mean | both), ()).draws["test_accuracy"]
    assert np.isfinite(draws[0]).all()
    np.testing.assert_array_equal(np.isnan(draws[1]), ALPHA < 0)


def test_what_a_failed_point_holds_is_a_gap() -> None:
    status = np.ones(25, np.uint8)
    status[5] = 2
    for curve in drawn(line(status=status)).lines:
        np.testing.assert_array_equal(np.isnan(np.asarray(curve.get_ydata())), status == 2)


def test_an_axis_without_finite_values_is_left_out() -> None:
    values = {"test_loss": ALPHA**2, "test_accuracy": np.full(25, np.nan)}
    assert len(drawn(line(values=values)).axes) == 1


def test_the_left_axis_is_logarithmic_where_losses_span_magnitudes() -> None:
    wide = line(values={"test_loss": 10 ** (3 * ALPHA), "test_accuracy": np.exp(ALPHA) / 8})
    left, right = drawn(wide).axes
    assert (left.get_yscale(), right.get_yscale()) == ("log", "linear")
    assert left.get_ylim()[0] > 0
    assert drawn(wide, logarithmic=False).axes[0].get_yscale() == "linear"
    assert drawn(line(), logarithmic=True).axes[0].get_yscale() == "log"


@pytest.mark.parametrize(("shape", "label"), [((1, 25), r"$\alpha$"), ((17, 1), r"$\beta$")])
def test_planes_without_width_are_lines(shape: tuple[int, int], label: str) -> None:
    ny, nx = shape
    values = {"test_loss": np.arange(1.0, ny * nx + 1).reshape(shape)}
    made = Made(values, ALPHA[:nx], BETA[:ny], np.ones(shape, np.uint8))
    curves = drawn(made)
    assert curves.axes[0].get_xlabel() == label
    np.testing.assert_array_equal(curves.lines[0].get_ydata(), values["test_loss"].ravel())


def test_a_mean_over_directions_lies_in_the_band_of_all() -> None:
    lines = {f"test_loss_d{draw}": draw + ALPHA**2 for draw in range(3)}
    made = line(values={"test_loss": 1 + ALPHA**2, **lines})
    curves = drawn(made, logarithmic=False)
    assert labels(curves.axes[0]) == ["test loss"]
    (band,) = curves.axes[0].collections
    bounds = band.get_paths()[0].get_extents()
    assert (bounds.y0, bounds.y1) == (np.min(ALPHA**2), 2 + np.max(ALPHA**2))
    assert curves.axes[0].get_ylim()[1] > bounds.y1
    assert not drawn(line()).axes[0].collections


def test_a_figure_says_of_how_many_directions_it_is(tmp_path: Path) -> None:
    lines = {f"test_loss_d{draw}": draw + ALPHA**2 for draw in range(3)}
    made = line(values={"test_loss": 1 + ALPHA**2, **lines})
    assert "mean and range over 3 directions" in "\n".join(texts(plotted(made, tmp_path)))
    assert "directions" not in "\n".join(texts(plotted(line(), tmp_path)))


def test_the_legend_explains_every_curve(tmp_path: Path) -> None:
    said = texts(plotted(line(), tmp_path))
    assert {"train loss", "test loss", "train accuracy", "test accuracy"} <= set(said)

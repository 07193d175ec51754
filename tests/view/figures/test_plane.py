from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.lattice import coarse_to_fine
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plane import (
    Plane,
    draw_plane,
    label_lines,
    mark_best_of_plane,
    planes_of,
)
from lossgrid.view.figures.style import styled
from lossgrid.view.scale import Scale, scale_for
from tests.view.figures.looking import WHITE, colours, plotted, texts
from tests.view.landscapes import ALPHA, BETA, BOWL, Made, plane


def drawn(made: Made, scale: Scale | None = None, **options: object) -> Plane:
    """One column of a landscape, the main one unless told, drawn alone."""
    wanted = Options(**options)  # type: ignore[arg-type]
    with styled(None):
        figure = Figure(figsize=(4, 4), layout="constrained")
        snapshot = planes_of(made, wanted.columns)[0]
        scale = scale or scale_for(snapshot.values, fraction=snapshot.is_fraction)
        painted = draw_plane(figure.add_subplot(), snapshot, scale, wanted)
        label_lines(figure, [painted])
        return painted


def test_columns_run_along_alpha_and_rows_along_beta() -> None:
    low, right, up = colours(drawn(plane()).axes, [(1.4, 0.3), (-0.9, 0.3), (1.4, 1.9)])
    assert sum(low) < sum(right)
    assert sum(low) < sum(up)
    ramp = plane(values={"test_loss": np.broadcast_to(ALPHA + 2, BOWL.shape)})
    left, left_up, end = colours(drawn(ramp).axes, [(-0.95, 0.3), (-0.95, 1.7), (1.97, 0.3)])
    assert left == left_up
    assert sum(left) < sum(end)


@pytest.mark.parametrize("kind", ["filled", "heat"])
def test_pending_failed_and_infinite_areas_are_blank(kind: str) -> None:
    values, status = BOWL.copy(), np.ones(BOWL.shape, np.uint8)
    status[:8, :10] = 0
    status[12:, :4] = 2
    values[status != 1] = np.nan
    values[12:, 20:] = np.inf
    points = [(-0.5, 0.3), (-0.9, 1.8), (1.9, 1.8)]
    gaps = plane(values={"test_loss": values}, status=status)
    assert colours(drawn(gaps, kind=kind).axes, points) == [WHITE] * 3
    assert WHITE not in colours(drawn(plane(), kind=kind).axes, points)


def test_an_accuracy_is_blank_where_its_loss_is_nan() -> None:
    loss = np.where(ALPHA < 0, np.nan, BOWL)
    values = {"test_loss": loss, "test_accuracy": 1 / (1 + BOWL), "train_accuracy": 1 / (1 + BOWL)}
    points = [(-0.5, 0.3), (0.5, 0.3)]
    for column, blank in (("test_accuracy", True), ("train_accuracy", False)):
        made = drawn(plane(values=values), columns=(column,))
        left, right = colours(made.axes, points)
        assert (left == WHITE) is blank
        assert right != WHITE


def test_lines_keep_off_what_is_missing() -> None:
    status = np.ones(BOWL.shape, np.uint8)
    status[:, :12] = 0
    found = drawn(plane(status=status), kind="lines").lines
    assert found is not None
    vertices = np.concatenate([path.vertices for path in found.get_paths()])
    assert vertices[:, 0].min() >= ALPHA[12]


def test_an_unfinished_run_shows_its_coarse_picture() -> None:
    alpha, beta = np.linspace(-1, 2, 50), np.linspace(0, 2, 35)
    status = np.zeros(35 * 50, np.uint8)
    rows = [row for row, _ in zip(coarse_to_fine(35, 50), range(22), strict=False)]
    status[np.concatenate(rows)] = 1
    status = status.reshape(35, 50)
    assert 0.02 < status.mean() < 0.4
    values = np.where(status == 1, 1.0 + alpha**2, np.nan)
    made = plane(values={"test_loss": values}, status=status, alpha=alpha, beta=beta)
    assert WHITE not in colours(drawn(made).axes, [(-0.9, 0.1), (0.5, 1.1), (1.9, 1.9)])


def test_values_beyond_the_scale_have_its_end_colours() -> None:
    values = BOWL.copy()
    values[6:11, 5:11] = 0.0
    values[6:11, 15:20] = 1e200
    made = plane(values={"test_loss": values})
    zero, huge, usual = colours(drawn(made).axes, [(0.0, 1.0), (1.15, 1.0), (-0.9, 1.9)])
    assert WHITE not in (zero, huge)
    assert sum(zero) < sum(usual) < sum(huge)


def test_bands_end_at_the_lines() -> None:
    """The lines cover the hairlines that viewers show between polygons."""
    painted = drawn(plane())
    assert painted.lines is not None
    low, *inner, high = painted.colours.levels  # type: ignore[union-attr]
    np.testing.assert_array_equal(inner, painted.lines.levels)
    assert list(inner) == list(painted.levels) == painted.scale.line_levels()
    assert (low, high) == (painted.scale.low, painted.scale.high)


def test_contour_lines_lie_at_their_levels() -> None:
    """Of values that are linear, they are straight."""
    ramp = plane(values={"test_loss": np.broadcast_to(ALPHA + 2, BOWL.shape)})
    found = drawn(ramp, kind="lines", levels=(1.5, 2.25, 3.0)).lines
    assert found is not None
    assert list(found.levels) == [1.5, 2.25, 3.0]
    for level, path in zip(found.levels, found.get_paths(), strict=True):
        np.testing.assert_allclose(path.vertices[:, 0], level - 2)


THOUSANDTHS = st.integers(20, 5000).map(lambda count: count / 1000)


@given(st.lists(THOUSANDTHS, min_size=2, max_size=8, unique=True))
@settings(max_examples=25, deadline=None)
def test_any_levels_are_drawn(levels: list[float]) -> None:
    painted = drawn(plane(), levels=tuple(levels))
    inside = [level for level in sorted(levels) if BOWL.min() < level < BOWL.max()]
    assert painted.lines is not None
    assert list(painted.lines.levels) == inside
    bands = painted.colours.get_array()  # type: ignore[union-attr]
    assert len(bands) == len(inside) + 1
    assert len({tuple(rgba) for rgba in painted.colours.to_rgba(bands)}) == len(bands)  # type: ignore[union-attr]


def test_levels_out_of_reach_are_told() -> None:
    with pytest.raises(UserError, match=r"--levels: none of them is within test_loss, .* 0\.01 to"):
        drawn(plane(), levels=(1e6,))
    with pytest.raises(UserError, match="a heat map has no contour lines"):
        drawn(plane(), levels=(1.0,), kind="heat")


def test_lines_are_labelled_where_nothing_else_is() -> None:
    painted = drawn(plane(), kind="lines")
    axes, lines = painted.axes, painted.lines
    assert lines is not None
    labels = [text for text in axes.texts if text.get_text()]
    assert {"0.1", "1", "5"} <= {text.get_text() for text in labels}
    assert {text.get_text() for text in labels} <= {f"{level:g}" for level in lines.levels}
    boxes = [label.get_window_extent() for label in labels]
    assert all(not box.count_overlaps(boxes[:number]) for number, box in enumerate(boxes))
    assert all(axes.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1))


def test_no_line_runs_through_a_label() -> None:
    axes = drawn(plane(), kind="lines", levels=tuple(np.arange(0.1, 8, 0.25))).axes
    places = [text.get_position() for text in axes.texts]
    assert len(places) > 10
    for text in axes.texts:
        text.set_visible(False)
    assert set(colours(axes, places)) == {WHITE}


def test_the_best_point_keeps_labels_away() -> None:
    made = plane()
    free = {text.get_position() for text in drawn(made, kind="lines").axes.texts}
    with styled(None):
        figure = Figure(figsize=(4, 4), layout="constrained")
        snapshot = planes_of(made, ())[0]
        axes = figure.add_subplot()
        painted = draw_plane(
            axes, snapshot, scale_for(snapshot.values, fraction=False), Options(kind="lines")
        )
        for place in free:
            axes.plot(*place, "*")
        label_lines(figure, [painted])
    assert not free & {text.get_position() for text in axes.texts}


def test_paths_keep_labels_away_between_their_points() -> None:
    with styled(None):
        figure = Figure(figsize=(4, 4), layout="constrained")
        snapshot = planes_of(plane(), ())[0]
        axes = figure.add_subplot()
        scale = scale_for(snapshot.values, fraction=False)
        painted = draw_plane(axes, snapshot, scale, Options(kind="lines"))
        for beta in np.linspace(0.05, 1.95, 20):  # as dense as labels are high
            axes.plot([-1, 2], [beta, beta])
        label_lines(figure, [painted])
    assert not axes.texts


@pytest.mark.parametrize("width", [1.2, 1.6, 2.4, 4.0])
def test_labels_of_ticks_stand_apart(width: float) -> None:
    with styled(None):
        figure = Figure(figsize=(width, 4), layout="constrained")
        axes = figure.add_subplot()
        snapshot = planes_of(plane(alpha=np.linspace(-1, 1, ALPHA.size)), ())[0]
        draw_plane(axes, snapshot, scale_for(snapshot.values, fraction=False), Options())
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        letter = axes.get_xticklabels()[0].get_fontsize() * figure.dpi / 72
    assert 2 <= len(boxes) <= 5
    assert all(right.x0 - left.x1 > letter / 2 for left, right in pairwise(boxes))


def test_lines_stand_out_from_their_bands() -> None:
    painted = drawn(plane())
    assert painted.lines is not None
    first, last = painted.lines.get_edgecolor()[[0, -1], :3]
    assert tuple(first) == to_rgb("1.0")  # on dark blue
    assert tuple(last) == to_rgb("0.1")  # on yellow


def test_a_heat_map_shows_each_point_in_its_colour() -> None:
    painted = drawn(plane(), kind="heat")
    assert isinstance(painted.colours, QuadMesh)
    assert isinstance(painted.colours.norm, LogNorm)
    np.testing.assert_allclose(painted.colours.get_array().filled(), BOWL)
    assert painted.lines is None


def test_a_constant_surface_is_of_one_colour() -> None:
    flat = plane(values={"test_loss": np.full(BOWL.shape, 2.3)})
    for kind in (None, "lines", "heat"):
        axes = drawn(flat, kind=kind).axes
        assert len(set(colours(axes, [(0.5, 0.5), (-0.9, 1.9)])) - {WHITE}) == 1


def test_a_part_of_a_scale_has_the_whole_scales_colours() -> None:
    """As of two panels with shared levels."""
    scale = scale_for(np.append(BOWL, 1000.0), fraction=False)
    low, high = drawn(plane(), scale), drawn(plane(values={"test_loss": 100 * BOWL}), scale)
    assert low.levels == high.levels
    assert low.colours.norm.boundaries.tolist() == high.colours.norm.boundaries.tolist()  # type: ignore[union-attr]
    assert low.lines is not None
    assert low.lines.levels.max() < BOWL.max()


def test_axes_are_of_equal_scale_unless_that_makes_a_ribbon() -> None:
    assert drawn(plane()).axes.get_aspect() == 1.0
    assert drawn(plane(alpha=100 * ALPHA)).axes.get_aspect() == "auto"


def test_the_star_is_at_the_best_point() -> None:
    painted = drawn(plane())
    mark_best_of_plane(painted.axes, painted.snapshot)
    (star,) = painted.axes.lines
    np.testing.assert_array_equal(star.get_xydata(), [[1.5, 0.25]])


def test_colour_bar_explains_bands(tmp_path: Path) -> None:
    said = texts(plotted(plane(), tmp_path, Options(trajectory=False)))
    assert "test loss (log scale)" in said
    assert said.count("0.02") >= 1
    said = texts(plotted(plane(), tmp_path, Options(logarithmic=False)))
    assert "test loss" in said
    said = texts(plotted(plane(values={"test_accuracy": 1 / (1 + BOWL)}), tmp_path))
    assert {"test accuracy", "50 %"} <= set(said)


@pytest.mark.parametrize("shape", [(2, 2), (2, 17), (25, 3)])
def test_small_planes(shape: tuple[int, int], tmp_path: Path) -> None:
    ny, nx = shape
    ny = min(ny, BETA.size)
    made = Made({"test_loss": BOWL[:ny, :nx]}, ALPHA[:nx], BETA[:ny], np.ones((ny, nx), np.uint8))
    assert {"test loss", "made: test loss"} & set(texts(plotted(made, tmp_path)))

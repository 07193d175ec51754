from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.view.figures.layers import draw_stacks, stacks_of
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plane import planes_of
from lossgrid.view.figures.plot import plot
from tests.view.landscapes import ALPHA, BOWL, line, plane

LAYERS = {
    f"train_{result}@{layer}": scale * (number + 1 + ALPHA**2)
    for result, scale in {"activation_mean": 1.0, "layer_gradient_norm": -2.0}.items()
    for number, layer in enumerate(["stem.conv", "layer1.0", "fc"])
}


def drawn(*columns: str) -> Figure:
    figure = Figure()
    draw_stacks(figure, stacks_of(line(layers=LAYERS), columns), Options())
    return figure


def test_a_heat_map_has_a_row_for_each_layer() -> None:
    axes = drawn("train_activation_mean").axes[0]
    (mesh,) = axes.collections
    expected = [LAYERS[f"train_activation_mean@{name}"] for name in ["stem.conv", "layer1.0", "fc"]]
    np.testing.assert_allclose(mesh.get_array().reshape(3, -1), expected)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stem.conv", "layer1.0", "fc"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first layer is above


def test_all_results_of_a_split_are_drawn_by_default() -> None:
    titles = [axes.get_title() for axes in drawn().axes]
    assert [title for title in titles if title] == [
        "made: train activation mean",
        "made: train layer gradient norm",
    ]


def test_a_layer_of_a_plane_is_a_column(tmp_path: Path) -> None:
    made = plane(layers={"train_activation_mean@fc": 2 * BOWL})
    (snapshot,) = planes_of(made, ["train_activation_mean@fc"])
    np.testing.assert_array_equal(snapshot.values, 2 * BOWL)
    plot(made, tmp_path / "a.png", Options(columns=("train_activation_mean@fc",)))
    with pytest.raises(UserError, match="is a plane; draw one layer with --column train_activ"):
        plot(made, tmp_path / "a.png", Options(layers=True))


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="compute that with curvature"):
        plot(line(), tmp_path / "a.png", Options(layers=True))
    with pytest.raises(UserError, match="no result 'x' of layers; the file has train_activation"):
        plot(line(layers=LAYERS), tmp_path / "a.png", Options(layers=True, columns=("x",)))

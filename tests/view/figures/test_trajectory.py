from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossgrid.store.trajectory import Trajectory
from lossgrid.view.figures.curves import curves_of
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.style import styled
from lossgrid.view.figures.trajectory import draw_over_line, draw_over_plane
from tests.view.figures.looking import plotted, texts
from tests.view.landscapes import ALPHA, BETA, line, plane, trajectory


def over_plane(**trajectories: Trajectory) -> tuple[Axes, dict[object, object]]:
    """Axes from -1 to 2 and 0 to 2, and the explained lines by their labels."""
    with styled(None):
        axes = Figure().add_subplot(xlim=(-1, 2), ylim=(0, 2), xlabel="x", ylabel="y")
        told = draw_over_plane(axes, trajectories)
    return axes, {one.get_label(): one for one in told}


def test_a_path_goes_through_its_checkpoints() -> None:
    made = trajectory()
    assert made.beta is not None
    _, told = over_plane(sgd=made)
    np.testing.assert_array_equal(told["sgd"].get_xydata(), np.c_[made.alpha, made.beta])  # type: ignore[attr-defined]


def test_diamonds_are_where_the_learning_rate_drops() -> None:
    made = trajectory()
    assert made.beta is not None
    _, told = over_plane(sgd=made)
    drops = told["learning rate drops"]
    np.testing.assert_array_equal(drops.get_xdata(), made.alpha[[3, 6]])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(drops.get_ydata(), made.beta[[3, 6]])  # type: ignore[attr-defined]
    assert set(over_plane(sgd=trajectory(learning_rate=None))[1]) == {"sgd"}


def test_axes_name_what_their_components_explain() -> None:
    axes, _ = over_plane(other=trajectory(explained_variance=None), sgd=trajectory())
    assert axes.get_xlabel() == "1st PCA component: 66.1 %"
    assert axes.get_ylabel() == "2nd PCA component: 21.0 %"
    axes, _ = over_plane(sgd=trajectory(explained_variance=None))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")


def test_axes_grow_to_hold_the_path() -> None:
    axes, _ = over_plane(sgd=trajectory())
    assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 2), (0, 2))
    far = trajectory(alpha=np.linspace(-3, 0, 10), beta=np.append(np.linspace(0, 1.9, 9), np.nan))
    axes, _ = over_plane(sgd=far)
    assert -3.5 < axes.get_xlim()[0] < -3
    assert axes.get_xlim()[1] == 2
    assert axes.get_ylim() == (0, 2)


def test_paths_have_names_and_colours(tmp_path: Path) -> None:
    _, told = over_plane(sgd=trajectory(), adam=trajectory())
    assert list(told) == ["sgd", "adam", "learning rate drops"]
    assert told["sgd"].get_color() != told["adam"].get_color()  # type: ignore[attr-defined]
    made = plane(trajectories={"sgd": trajectory()})
    assert {"sgd", "learning rate drops"} <= set(texts(plotted(made, tmp_path)))
    assert "sgd" not in texts(plotted(made, tmp_path, Options(trajectory=False)))


def test_over_a_line_checkpoints_have_their_true_values(tmp_path: Path) -> None:
    made = trajectory(beta=None, explained_variance=np.array([0.661, 0.21]))
    with styled(None):
        axes = Figure().add_subplot(xlim=(-1, 2))
        (points,) = draw_over_line(axes, {"sgd": made}, curves_of(line(), ["test_loss"]))
        assert draw_over_line(axes, {"sgd": made}, curves_of(line(), ["train_loss"])) == []
    np.testing.assert_array_equal(points.get_xydata(), np.c_[made.alpha, made.values["test_loss"]])
    assert axes.get_xlabel() == "1st PCA component: 66.1 %"
    assert "sgd" in texts(plotted(line(trajectories={"sgd": made}), tmp_path))


@pytest.mark.parametrize("axis", ["alpha", "beta"])
def test_over_a_plane_without_width_checkpoints_lie_along_its_length(axis: str) -> None:
    made = trajectory()
    shape = (1, ALPHA.size) if axis == "alpha" else (BETA.size, 1)
    coordinates = {"alpha": ALPHA[: shape[1]], "beta": BETA[: shape[0]]}
    flat = plane(
        values={"test_loss": np.full(shape, 0.5)},
        status=np.ones(shape, np.uint8),
        trajectories={"sgd": made},
        **coordinates,
    )
    with styled(None):
        axes = Figure().add_subplot(xlim=(-1, 2), ylabel="loss")
        (points,) = draw_over_line(axes, flat.trajectories, curves_of(flat, ()))
    np.testing.assert_array_equal(points.get_xdata(), getattr(made, axis))
    number = {"alpha": "1st PCA component: 66.1 %", "beta": "2nd PCA component: 21.0 %"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == (number[axis], "loss")

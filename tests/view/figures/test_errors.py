from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.view.figures.curves import curves_of, draw_curves, sides_of
from lossgrid.view.figures.errors import draw_errors
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plot import plot
from tests.view.landscapes import ALPHA, Made, line, plane

SPREAD = 0.01 * (1 + ALPHA**2)


def bands(made: Made) -> list[np.ndarray]:
    """Height of each band at each point of alpha that it has, as rows (alpha, low, high)."""
    snapshot = curves_of(made, ())
    sides = sides_of([snapshot], Options())
    curves = draw_curves(Figure().add_subplot(), snapshot, sides)
    draw_errors(curves, sides, made, snapshot)
    found = []
    for axes in curves.axes:
        for band in axes.collections:
            assert isinstance(band, PolyCollection)
            corners = np.concatenate([path.vertices for path in band.get_paths()])
            at = np.unique(corners[:, 0])
            ends = [np.sort(np.unique(corners[corners[:, 0] == x, 1]))[[0, -1]] for x in at]
            found.append(np.c_[at, ends])
    return found


def test_a_curve_lies_in_the_middle_of_two_errors_each_way() -> None:
    made = line()
    made.values["test_loss_se_data"] = SPREAD
    (band,) = bands(made)
    loss = made.values["test_loss"]
    np.testing.assert_allclose(band, np.c_[ALPHA, loss - 2 * SPREAD, loss + 2 * SPREAD])


def test_errors_of_both_kinds_add_up_as_independent_ones() -> None:
    made = line()
    made.values |= {"train_loss_se_data": 3 * SPREAD, "train_loss_sem": 4 * SPREAD}
    (band,) = bands(made)
    np.testing.assert_allclose(band[:, 2] - band[:, 1], 4 * 5 * SPREAD)


def test_each_metric_has_its_own_on_its_own_axis() -> None:
    made = line()
    made.values |= {"train_loss_sem": SPREAD, "train_accuracy_sem": SPREAD / 9}
    loss, accuracy = bands(made)
    np.testing.assert_allclose(loss[:, 1:].mean(axis=1), made.values["train_loss"])
    np.testing.assert_allclose(accuracy[:, 1:].mean(axis=1), made.values["train_accuracy"])


def test_where_a_point_is_missing_so_is_the_band() -> None:
    made = line()
    made.values["test_loss_se_data"] = SPREAD
    made.status[10:] = 0
    (band,) = bands(made)
    np.testing.assert_array_equal(band[:, 0], ALPHA[:10])


def test_without_errors_it_is_said_how_to_get_them() -> None:
    with pytest.raises(UserError, match=r"no standard errors of train_loss, .* samples: n"):
        bands(line())


def test_a_plane_has_no_bands(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a plane; draw its errors with --column"):
        plot(plane(), tmp_path / "plane.png", Options(errors=True))
    assert not list(tmp_path.iterdir())

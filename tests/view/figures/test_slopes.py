from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from lossgrid.errors import UserError
from lossgrid.view.figures.slopes import _some, draw_slopes
from lossgrid.view.snapshot import Snapshot
from tests.view.landscapes import ALPHA, BETA, BOWL, plane

BY_ALPHA = np.broadcast_to(2 * (ALPHA[None] - 1.5), BOWL.shape)
BY_BETA = np.broadcast_to(6 * (BETA[:, None] - 0.25), BOWL.shape)
SLOPES = {"test_gradient_alpha": BY_ALPHA, "test_gradient_beta": BY_BETA}


def drawn(**slopes: np.ndarray) -> Quiver:
    made = plane(values={"test_loss": BOWL, **(slopes or SLOPES)})
    axes = Figure().add_subplot()
    draw_slopes(axes, made, Snapshot.of(made, "test_loss", ["test_loss"]))
    (arrows,) = axes.collections
    assert isinstance(arrows, Quiver)
    return arrows


def test_arrows_point_to_the_bottom() -> None:
    """In the bowl with other axes as well, against the gradient of its own."""
    arrows = drawn()
    places = np.asarray(arrows.get_offsets())
    down = -np.stack([2 * (places[:, 0] - 1.5), 6 * (places[:, 1] - 0.25)], axis=1)
    found = np.stack([arrows.U, arrows.V], axis=1)
    np.testing.assert_allclose(found, down / np.hypot(*down.T)[:, None], atol=1e-12)


def test_where_it_is_flat_or_unknown_there_is_none() -> None:
    flat = np.zeros(BOWL.shape)
    flat[0, 0] = flat[4, 4] = 1
    nothing = np.zeros(BOWL.shape)
    assert len(drawn(test_gradient_alpha=flat, test_gradient_beta=nothing).U) == 2
    flat[0, 0] = np.nan
    assert len(drawn(test_gradient_alpha=flat, test_gradient_beta=nothing).U) == 1


def test_slopes_are_those_of_the_same_split() -> None:
    with pytest.raises(UserError, match="no slopes to draw over test_loss"):
        drawn(train_gradient_alpha=BY_ALPHA, train_gradient_beta=BY_BETA)


@given(count=st.integers(2, 3000))
def test_there_are_at_most_so_many(count: int) -> None:
    some = _some(count)
    assert 2 <= some.size <= 15
    assert abs((count - 1 - some[-1]) - some[0]) <= 1

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossgrid.errors import UserError
from lossgrid.view.camera import PRESETS, VIEW_ANGLE, Camera, cameras, direction

POINTS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).normal(size=(12, 3)) * [1, 1, 0.5]
)
DIRECTIONS = st.lists(st.tuples(st.floats(-720, 720), st.floats(-90, 90)), min_size=1, max_size=4)


def seen(points: np.ndarray, camera: Camera, aspect: float) -> np.ndarray:
    """Places in the picture, -1 to 1 from its left to its right and its bottom to its top."""
    forward = camera.focus - camera.place
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, camera.up)
    depth = (points - camera.place) @ forward
    assert (depth > 0).all()
    tangent = np.tan(np.radians(VIEW_ANGLE / 2))
    across = (points - camera.place) @ np.stack([right, camera.up], axis=1)
    return across / depth[:, None] / tangent / [aspect, 1]


@settings(deadline=None)
@given(POINTS, DIRECTIONS, st.floats(0.3, 3))
def test_every_camera_sees_all_points_and_some_picture_is_full(
    points: np.ndarray, directions: list[tuple[float, float]], aspect: float
) -> None:
    placed = cameras(points, directions, aspect)
    assert len(placed) == len(directions)
    reach = max(np.abs(seen(points, camera, aspect)).max() for camera in placed)
    assert 0.85 < reach < 0.9201
    distances = [np.linalg.norm(camera.place - camera.focus) for camera in placed]
    np.testing.assert_allclose(distances, distances[0])


@pytest.mark.parametrize(
    ("view", "point", "place"),
    [
        ("top", [1, 0, 0], "right"),
        ("top", [0, 1, 0], "up"),
        ("front", [1, 0, 0], "right"),
        ("front", [0, 0, 1], "up"),
        ("side", [0, 1, 0], "right"),
        ("180,0", [-1, 0, 0], "right"),
        ("0,-90", [0, -1, 0], "up"),
    ],
)
def test_where_things_are(view: str, point: list[float], place: str) -> None:
    ends = np.array([point, np.negative(point)], float)
    (camera,) = cameras(ends, [direction(view)], 1.0)
    found = seen(ends, camera, 1.0)[0]
    along, across = (0, 1) if place == "right" else (1, 0)
    assert found[along] > 0.3
    assert found[across] == pytest.approx(0, abs=0.3)


def test_a_turn_is_around_the_vertical_axis() -> None:
    points = np.random.default_rng(0).normal(size=(9, 3))
    turn = [(angle, 30.0) for angle in range(0, 360, 10)]
    placed = cameras(points, turn, 1.5)
    heights = [camera.place[2] for camera in placed]
    np.testing.assert_allclose(heights, heights[0])
    np.testing.assert_allclose(
        np.mean([camera.place[:2] for camera in placed], axis=0), 0, atol=1e-9
    )


def test_directions_are_names_or_numbers() -> None:
    assert direction("iso") == PRESETS["iso"]
    assert direction("-30.5,40") == (-30.5, 40)
    for wrong in ("isometric", "1", "1,2,3", "0,91", "nan,0", "inf,0", "0,nan", ""):
        with pytest.raises(UserError, match="is neither iso, top, front, side, low nor"):
            direction(wrong)

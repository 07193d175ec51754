"""Trajectories in a results file, and the surface under them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.engine.messages import DONE, FAILED, PENDING
from lossgrid.errors import UserError
from lossgrid.store.amend import (
    add_trajectories,
    mark_complete,
    reset_lost,
    write_true_values,
)
from lossgrid.store.create import Contents, create
from lossgrid.store.results import read_results
from lossgrid.store.trajectory import Trajectory

ALPHA, BETA = np.linspace(-1, 2, 7), np.linspace(-3, 1, 5)
COLUMNS = ("train_loss", "test_loss")


def trajectory(*places: tuple[float, float], **changes: object) -> Trajectory:
    alpha, beta = np.array(places, np.float64).reshape(-1, 2).T
    files = tuple(f"é/epoch-{number}.pt" for number in range(alpha.size))
    values = {column: np.full(alpha.size, np.nan) for column in COLUMNS}
    pending = np.zeros(alpha.size, np.uint8)
    return replace(Trajectory(alpha, beta, files, None, None, values, pending, None), **changes)


PATH = trajectory((-1, -3), (0.3, 0.1), (2, 1), (2.1, 0), (0, -3.5))


def stored(path: Path, beta: np.ndarray | None, **trajectories: Trajectory) -> Path:
    directions = {"x": {"w": np.ones(2, np.float32)}}
    texts = {"fingerprint": "{}", "plan": "{}"}
    create(path, Contents(ALPHA, beta, COLUMNS, directions, {}, texts, trajectories=trajectories))
    return path


@given(st.lists(st.floats(-9, 9), min_size=4, max_size=4))
def test_between_grid_points_the_surface_is_bilinear(c: list[float]) -> None:
    """Such a surface is met exactly; outside the grid there is none."""

    def surface(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return c[0] + c[1] * a + c[2] * b + c[3] * a * b

    found = PATH.under(ALPHA, BETA, surface(ALPHA[None], BETA[:, None]))
    assert PATH.beta is not None
    expected = surface(PATH.alpha, PATH.beta)
    np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-9, atol=1e-9)
    assert np.isnan(found[3:]).all()


def test_a_grid_point_that_is_not_known_is_missed_only_where_it_counts() -> None:
    values = np.zeros((5, 7))
    values[0, 0] = np.nan
    values[3, 3] = np.inf
    path = trajectory((-0.75, -2.5), (-1, -3), (-1, -2), (-0.5, -3), (0.5, 0), (0.6, 0), (1, 1))
    nan, inf = np.nan, np.inf
    np.testing.assert_array_equal(path.under(ALPHA, BETA, values), [nan, nan, 0, 0, inf, inf, 0])


def test_lines_and_single_points() -> None:
    on_line = replace(PATH, beta=None)
    found = on_line.under(ALPHA, None, 3 * ALPHA)
    np.testing.assert_allclose(found, [-3, 0.9, 6, np.nan, 0], atol=1e-12)
    one = trajectory((0.5, 0), (0.5, 0.1), (0.4, 0)).under(
        np.array([0.5]), np.array([0.0]), np.array([[7.0]])
    )
    np.testing.assert_array_equal(one, [7, np.nan, np.nan])


def test_a_drop_is_after_the_last_checkpoint_of_the_higher_rate() -> None:
    rates = np.array([0.1, 0.1, 0.01, 0.009, 0.0045, np.nan, 0.001])
    path = replace(PATH, learning_rate=rates)
    assert path.drops.tolist() == [1, 3]
    assert PATH.drops.tolist() == []


@pytest.mark.parametrize("beta", [BETA, None])
def test_what_is_stored_is_read(tmp_path: Path, beta: np.ndarray | None) -> None:
    full = replace(
        PATH,
        beta=None if beta is None else PATH.beta,
        epoch=np.arange(5.0),
        learning_rate=np.array([0.1, 0.1, 0.1, 0.01, np.nan]),
        explained_variance=np.array([0.6, 0.25]),
        stamps=np.arange(10).reshape(5, 2),
    )
    bare = replace(full, epoch=None, learning_rate=None, explained_variance=None, stamps=None)
    found = read_results(stored(tmp_path / "r.vtkhdf", beta, sgd=full, adam=bare)).trajectories
    assert set(found) == {"sgd", "adam"}
    for one, expected in ((found["sgd"], full), (found["adam"], bare)):
        assert one.checkpoints == expected.checkpoints
        assert set(one.values) == set(COLUMNS)
        assert all(np.isnan(values).all() for values in one.values.values())
        for name in ("alpha", "beta", "epoch", "learning_rate", "explained_variance", "stamps"):
            np.testing.assert_array_equal(getattr(one, name), getattr(expected, name))


def test_a_file_without_any_has_none(tmp_path: Path) -> None:
    assert read_results(stored(tmp_path / "r.vtkhdf", BETA)).trajectories == {}


def test_one_is_added_to_a_file_that_keeps_all_else(tmp_path: Path) -> None:
    results = read_results(stored(tmp_path / "r.vtkhdf", BETA, sgd=PATH))
    write_true_values(results, {("sgd", 1): {"train_loss": 1.5, "test_loss": 2.5}})
    mark_complete(results.path)
    long = "x" * 70_000  # more than an attribute can hold
    for text in ("short", long, "short again"):
        name = f"run {len(read_results(results.path).trajectories)}"
        add_trajectories(results, {name: PATH}, {"fingerprint": "{}", "job": text})
        assert read_results(results.path).attributes["job"] == text
    found = read_results(results.path).trajectories
    assert set(found) == {"sgd", "run 1", "run 2", "run 3"}
    assert found["sgd"].values["train_loss"][1] == 1.5
    assert found["run 2"].unfinished.tolist() == [0, 1, 2, 3, 4]
    with h5py.File(results.path) as file:
        assert file["lossgrid"].attrs["complete"] == 0
    write_true_values(read_results(results.path), {("run 3", 4): {"train_loss": 9.0}})
    assert list(tmp_path.iterdir()) == [results.path]


def test_one_that_can_not_be_added_changes_nothing(tmp_path: Path) -> None:
    results = read_results(stored(tmp_path / "r.vtkhdf", BETA, sgd=PATH))
    before = results.path.read_bytes()
    with pytest.raises(UserError, match="results can't be stored"):
        add_trajectories(results, {"adam": PATH, "sgd": PATH}, {})
    assert results.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [results.path]


def test_true_values_are_stored_without_changing_anything_else(tmp_path: Path) -> None:
    path = stored(tmp_path / "r.vtkhdf", BETA, sgd=PATH, adam=PATH)
    results = read_results(path)
    before = path.read_bytes()
    assert results.trajectories["sgd"].unfinished.tolist() == [0, 1, 2, 3, 4]
    write_true_values(
        results,
        {
            ("sgd", 1): {"train_loss": 1.5, "test_loss": 2.5},
            ("adam", 4): {"train_loss": 3.5, "test_loss": np.inf},
        },
    )
    found = read_results(path).trajectories
    assert found["sgd"].values["train_loss"][1] == 1.5
    assert found["adam"].values["test_loss"][4] == np.inf
    assert found["sgd"].unfinished.tolist() == [0, 2, 3, 4]
    assert found["adam"].unfinished.tolist() == [0, 1, 2, 3]
    after = path.read_bytes()
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert len({i // 8 for i in changed}) <= 7  # four numbers of eight bytes, two of one
    with h5py.File(path) as file:
        names = file["lossgrid/trajectory/sgd/checkpoint"][()]
    assert [name.decode() for name in names] == list(PATH.checkpoints)


def test_after_a_power_loss_what_has_no_values_is_pending(tmp_path: Path) -> None:
    path = stored(tmp_path / "r.vtkhdf", BETA, sgd=PATH)
    known = {"train_loss": 1.5, "test_loss": 2.5}
    found = {("sgd", 0): known, ("sgd", 1): {**known, "test_loss": np.nan}, ("sgd", 2): None}
    write_true_values(read_results(path), found)
    mark_complete(path)
    assert read_results(path).trajectories["sgd"].status.tolist() == [DONE, DONE, FAILED, 0, 0]
    reset_lost(read_results(path))
    assert read_results(path).trajectories["sgd"].status.tolist() == [DONE, PENDING, FAILED, 0, 0]
    with h5py.File(path) as file:
        assert file["lossgrid"].attrs["complete"] == 0

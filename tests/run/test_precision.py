"""Low precision is compared with float32 at a few points, once, at the end of a run."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.commands.status import Status
from lossgrid.engine.messages import DONE
from lossgrid.engine.signals import StopRequest
from lossgrid.errors import DroppedError
from lossgrid.exits import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.run import precision
from lossgrid.run.steps import run
from lossgrid.store.results import Results, read_results
from tests.mpi import MPICH_WHEEL, mpirun
from tests.toy import toy_job

PLANE = {
    "alpha": {"min": -1, "max": 1, "points": 25},
    "beta": {"min": -1, "max": 1, "points": 21},
}
LOW = {"precision": "bfloat16"}
FIVE = [0, 24, 10 * 25 + 12, 20 * 25, 20 * 25 + 24]


def job(folder: Path, **changes: Any) -> Path:
    return toy_job(folder, grid=PLANE, **{"evaluation": LOW, **changes})


def results(folder: Path) -> Results:
    return read_results(folder / "out" / "toy.vtkhdf")


shapes = st.tuples(st.integers(1, 200), st.integers(1, 200)) | st.tuples(st.integers(1, 5000))


@given(shape=shapes)
def test_few_points_with_corners_and_centre(shape: tuple[int, ...]) -> None:
    points = precision.sample(shape)
    total = math.prod(shape)
    assert points.size * 100 <= total
    line = max(shape) == total
    least = 300 if line else 500
    assert (points.size > 0) == (total >= least) == (precision.impossible(shape, False) is None)
    if points.size:
        assert len(set(points.tolist())) == points.size <= 9
        places = set(zip(*np.unravel_index(points, shape), strict=True))
        for corner in [(0,) * len(shape), tuple(n - 1 for n in shape)]:
            assert corner in places
        middles = [n // 2 for n in shape]
        assert any(np.abs(np.subtract(place, middles)).max() <= 1 for place in places)


def test_values_stand_beside_those_of_float32(tmp_path: Path) -> None:
    assert run(job(tmp_path)) == COMPLETE
    low = results(tmp_path)
    rows = low.precision
    assert rows is not None
    assert rows["point"].tolist() == sorted(FIVE * 2)
    assert rows["column"].tolist() == [b"train_loss", b"train_accuracy"] * 5
    said = Status.of(low.path).text()
    (tmp_path / "high").mkdir()
    assert run(job(tmp_path / "high", evaluation={})) == COMPLETE
    high = results(tmp_path / "high")
    assert high.precision is None
    assert "float32" not in Status.of(high.path).text()
    for point, column, exact, stored in rows.tolist():
        assert stored == low.values[column.decode()].flat[point]
        assert exact == pytest.approx(high.values[column.decode()].flat[point], rel=1e-5)
    loss = rows[::2]
    apart = np.abs(loss["stored"] / loss["float32"] - 1)
    assert 1e-5 < apart.max() < 0.1
    assert f"bfloat16: within {apart.max():.2g} of float32 at 5 points" in said


def test_ranks_share_the_points(tmp_path: Path) -> None:
    run(job(tmp_path))
    alone = results(tmp_path).precision
    args = ["-m", "lossgrid", "run", job(tmp_path), "--overwrite"]
    done = mpirun(MPICH_WHEEL, 3, args, timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    found = results(tmp_path).precision
    assert alone is not None
    assert found is not None
    assert found.tobytes() == alone.tobytes()


def test_it_is_done_once_however_often_a_run_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = job(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(precision, "again", lambda *args: np.empty((0, 2)))
        assert run(path) == UNFINISHED
    left = results(tmp_path)
    assert (left.status == 1).all()
    assert left.precision is not None
    assert left.precision.size == 0
    assert run(path) == COMPLETE
    before = left.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.delattr(precision, "again")
        assert run(path) == COMPLETE
    assert left.path.read_bytes() == before
    assert left.precision is not None
    assert left.precision.size == 10


def test_points_that_failed_are_left_out(tmp_path: Path) -> None:
    path = job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    (tmp_path / "broken").touch()
    assert run(path) == SOME_FAILED
    found = results(tmp_path)
    done = [point for point in FIVE if found.status.flat[point] == DONE]
    assert 0 < len(done) < 5
    assert found.precision is not None
    assert found.precision["point"].tolist() == done


def test_a_small_grid_is_told_why(tmp_path: Path) -> None:
    assert run(toy_job(tmp_path, evaluation=LOW)) == COMPLETE
    assert (
        "bfloat16: not compared with float32: 35 points are too few"
        in Status.of(results(tmp_path).path).text()
    )


def test_a_file_whose_plan_lacks_the_precision_has_a_status(tmp_path: Path) -> None:
    """As one that another program has made."""
    assert run(toy_job(tmp_path, evaluation=LOW)) == COMPLETE
    with h5py.File(results(tmp_path).path, "r+") as file:
        file["lossgrid"].attrs["plan"] = "{}"
    said = Status.of(results(tmp_path).path).text()
    assert "finished" in said
    assert "low precision: not compared with float32" in said


def test_estimates_are_not_compared(tmp_path: Path) -> None:
    assert run(job(tmp_path, evaluation={**LOW, "tolerance": 0.1})) == COMPLETE
    assert (
        "not compared with float32: values are estimates"
        in Status.of(results(tmp_path).path).text()
    )


def test_points_that_fail_in_float32_alone_are_nan() -> None:
    def touchy(points: np.ndarray, unwanted: Callable[[], bool]) -> np.ndarray:
        if points[0] == 2:
            raise ValueError("mine")
        return np.array([[1.0, 2.0]])

    found = precision.again(touchy, np.array([1, 2, 3]), 2, StopRequest())
    np.testing.assert_array_equal(found, [[1, 2], [np.nan, np.nan], [1, 2]])


@pytest.mark.parametrize("long", [False, True])
def test_a_signal_ends_it(long: bool) -> None:
    """Between two points, and within one that takes too long."""
    with StopRequest() as stopping, stopping.heeded():

        def signalled(points: np.ndarray, unwanted: Callable[[], bool]) -> np.ndarray:
            if points[0] == 2:
                os.kill(os.getpid(), signal.SIGUSR1)
                if long:
                    raise DroppedError
            return np.ones((1, 2))

        found = precision.again(signalled, np.arange(9), 2, stopping)
    assert len(found) == (2 if long else 3)

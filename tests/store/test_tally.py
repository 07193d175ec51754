from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED, PENDING
from lossgrid.lattice import lattice, strides
from lossgrid.store import tally as tallies
from lossgrid.store.create import Contents, create
from lossgrid.store.results import read_results
from lossgrid.store.tally import Tally

PLANE, LINE, ROW, COLUMN = (13, 21), (29,), (1, 17), (17, 1)


def made(path: Path, shape: tuple[int, ...]) -> Path:
    axes = [np.linspace(-1, 1, size) for size in shape]
    beta = axes[0] if len(shape) == 2 else None
    create(path, Contents(axes[-1], beta, ("test_accuracy", "test_loss"), {}, attributes=TEXTS))
    return path


TEXTS = {"plan": "{}", "fingerprint": "{}"}


def store(path: Path, points: dict[int, int], rank: int = 0) -> None:
    """Each point and its status; a point's loss is its index but for every seventh."""
    with h5py.File(path, "r+") as file:
        shape = file["lossgrid/status"].shape
        for point, status in points.items():
            at = np.unravel_index(point, shape)
            if status in (DONE, INTERPOLATED):
                file["VTKHDF/PointData/test_loss"][at] = np.inf if point % 7 == 0 else point
            if status in (DONE, FAILED):
                file["lossgrid/points/rank"][at] = rank
                file["lossgrid/points/seconds"][at] = 0.5
                file["lossgrid/points/attempt"][at] += 1
            file["lossgrid/status"][at] = status


def check(tally: Tally, status: dict[int, int], computed: list[tuple[int, int]]) -> None:
    """Against what was stored: the last status of each point; (rank, point) of each try."""
    shape = tally.status.shape
    truth = np.zeros(int(np.prod(shape)), np.uint8)
    truth[list(status)] = list(status.values())
    assert np.array_equal(tally.status, truth.reshape(shape))
    assert tally.tries == len(computed)
    assert tally.rank_points.sum() == tally.tries
    for rank, points in enumerate(tally.rank_points):
        assert points == sum(other == rank for other, _ in computed)
        assert tally.rank_seconds[rank] == 0.5 * points
    settled = [point for point, one in status.items() if one in (DONE, INTERPOLATED)]
    finite = [point for point in settled if point % 7]
    assert tally.best == min(finite, default=None)
    values = np.full(truth.size, np.nan)
    values[settled] = [np.inf if point % 7 == 0 else point for point in settled]
    kept = values.reshape(shape)[np.ix_(*tally.kept)]
    assert np.array_equal(tally.values, kept, equal_nan=True)


STATUSES = st.sampled_from([DONE, FAILED, INTERPOLATED])


@settings(deadline=None, max_examples=25)
@given(
    shape=st.sampled_from([PLANE, LINE, ROW, COLUMN]),
    data=st.data(),
    most=st.sampled_from([4, 512]),
)
def test_what_is_added_bit_by_bit_is_what_is_there(
    shape: tuple[int, ...], data: st.DataObject, most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = made(tmp_path_factory.mktemp("tally") / "a.vtkhdf", shape)
    points = st.integers(0, int(np.prod(shape)) - 1)
    status: dict[int, int] = {}
    computed: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallies, "MOST_KEPT", most)
        patch.setattr(tallies, "CALL_BYTES", data.draw(st.sampled_from([1, 400, 65536])))
        tally = Tally(read_results(path), "test_loss", largest=False)
        for rank in range(3):
            new = data.draw(st.dictionaries(points, STATUSES, max_size=9))
            new = {p: one for p, one in new.items() if status.get(p, FAILED) == FAILED}
            store(path, new, rank)
            status |= new
            computed += [(rank, point) for point, one in new.items() if one != INTERPOLATED]
            tally.update()
            check(tally, status, computed)


def test_a_point_that_is_computed_again_counts_again(tmp_path: Path) -> None:
    path = made(tmp_path / "a.vtkhdf", PLANE)
    tally = Tally(read_results(path), "test_loss", largest=False)
    for _ in range(2):
        store(path, {8: DONE})
        tally.update()
    assert (tally.tries, tally.count(DONE), tally.rank_points.tolist()) == (2, 1, [2])


def test_only_rows_that_changed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "a.vtkhdf", PLANE)
    tally = Tally(read_results(path), "test_loss", largest=False)
    taken: list[int] = []
    take = tally._take
    monkeypatch.setattr(tallies, "CALL_BYTES", 1)
    monkeypatch.setattr(
        tally, "_take", lambda file, *rest: (taken.append(rest[0].start), take(file, *rest))
    )
    for row in (3, 3, 11):
        store(path, {row * PLANE[1] + len(taken): DONE})
        tally.update()
    tally.update()
    assert taken == [3, 3, 11]


def test_the_largest_accuracy_is_best(tmp_path: Path) -> None:
    path = made(tmp_path / "a.vtkhdf", PLANE)
    store(path, {30: DONE, 31: DONE})
    with h5py.File(path, "r+") as file:
        file["VTKHDF/PointData/test_accuracy"][1, 9:11] = [0.25, 0.5]
    tally = Tally(read_results(path), "test_accuracy", largest=True)
    tally.update()
    assert (tally.best, tally.best_value) == (31, 0.5)


@pytest.mark.parametrize("shape", [(700, 30), (2001, 1001), (5000,)])
def test_what_is_kept_of_a_large_grid_belongs_to_the_runs_lattices(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    tally = Tally(read_results(made(tmp_path / "a.vtkhdf", shape)), "test_loss", largest=False)
    assert max(kept.size for kept in tally.kept) <= tallies.MOST_KEPT + 1
    assert tally.stride in tally.lattices()
    assert tally.lattices() == strides(*(shape if len(shape) == 2 else (1, *shape)))
    for stride in [s for s in tally.lattices() if s >= tally.stride]:
        for size, kept in zip(shape, tally.kept, strict=True):
            assert np.isin(lattice(size, stride), kept).all()


def test_messages_of_failures_come_and_go(tmp_path: Path) -> None:
    path = made(tmp_path / "a.vtkhdf", PLANE)
    store(path, {40: FAILED})
    with h5py.File(path, "r+") as file:
        file["lossgrid/errors"][0] = (40, b"too far out")
    tally = Tally(read_results(path), "test_loss", largest=False)
    tally.update()
    assert tally.errors == {40: "too far out"}
    store(path, {40: DONE})
    tally.update()
    assert tally.errors == {}
    assert tally.count(PENDING) == tally.status.size - 1

"""Points that fail, and workers at which everything does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lossgrid.engine import tail
from lossgrid.engine.chunks import ChunkQueue
from lossgrid.engine.coordinator import Coordinator, Ending
from lossgrid.engine.failures import SUSPICIOUS
from lossgrid.engine.messages import DONE, FAILED, Bye, Chunk, Result, ToCoordinator
from lossgrid.engine.pointset import PointSet
from lossgrid.engine.sizing import IN_HAND, ChunkSizer
from tests.engine.harness import Listener, Memory, Squares, ThreadHub, run_job

SHAPE = (20, 30)
POINTS = 20 * 30
CHUNKS = pytest.mark.parametrize("chunk", [None, 1, 10, 1000])


class Failing(Squares):
    """Raises where it is told to, and remembers that."""

    def __init__(self, fails: Callable[[int], bool], seconds: float = 0.0) -> None:
        super().__init__(seconds=lambda point: seconds)
        self._fails = fails
        self.failed: list[int] = []

    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        if self._fails(int(points[0])):
            self.failed.append(int(points[0]))
            raise ValueError("out of order")
        return super().compute(points)


def broken() -> Failing:
    return Failing(lambda point: True)


def check_squares(memory: Memory) -> None:
    assert (memory.status == DONE).all()
    assert (memory.stored == 1).all()
    assert np.array_equal(memory.values, np.arange(POINTS) ** 2.0)


@pytest.mark.parametrize(
    ("count", "chunk"), [(1, None), (1, 1), (1, 10), (1, 1000), (2, None), (2, 1), (2, 10)]
)
def test_workers_that_cannot_compute_cost_no_point(count: int, chunk: int | None) -> None:
    memory, observer = Memory(POINTS), Listener()
    healthy = [Squares(seconds=lambda point: 0.002) for _ in range(2)]
    bad = [broken() for _ in range(count)]
    assert run_job([*bad, *healthy], SHAPE, memory, chunk=chunk, observer=observer) is False
    check_squares(memory)
    if chunk != 1000:  # all points would be in the first chunk
        assert sorted(rank for rank, _ in observer.retirements) == list(range(count))
        assert {message for _, message in observer.retirements} == {"ValueError: out of order"}
        for one in bad:
            assert len(one.failed) <= SUSPICIOUS + IN_HAND * (chunk or 1) + 1


def test_a_worker_that_breaks_down_later_is_retired() -> None:
    memory, observer = Memory(POINTS), Listener()
    bad = Failing(lambda point: len(bad.computed) >= 20, seconds=0.002)
    healthy = [Squares(seconds=lambda point: 0.002) for _ in range(2)]
    run_job([*healthy, bad], SHAPE, memory, chunk=1, observer=observer)
    check_squares(memory)
    assert [rank for rank, _ in observer.retirements] == [2]


def test_workers_that_fail_at_once_wait_for_slow_ones_to_answer() -> None:
    memory = Memory(POINTS)
    slow = [Squares(seconds=lambda point: 0.1 if point < 5 else 0.0) for _ in range(2)]
    bad = [broken(), broken()]
    run_job([*bad, *slow], SHAPE, memory, chunk=1)
    check_squares(memory)
    assert max(len(one.failed) for one in bad) <= SUSPICIOUS + IN_HAND + 1


@CHUNKS
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_job_in_which_everything_fails_ends(chunk: int | None, workers: int) -> None:
    memory, observer = Memory(POINTS), Listener()
    bad = [broken() for _ in range(workers)]
    assert run_job(bad, SHAPE, memory, chunk=chunk, observer=observer) is False
    assert (memory.status == FAILED).all()
    assert set(memory.errors) == set(range(POINTS))
    tries = np.bincount([point for one in bad for point in one.failed])
    assert tries.min() >= min(workers, 2)
    assert tries.max() <= 4
    assert not observer.retirements


@CHUNKS
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_points_that_fail_everywhere_retire_nobody(chunk: int | None, workers: int) -> None:
    memory, observer = Memory(POINTS), Listener()
    alike = [Failing(lambda point: 100 <= point < 400, seconds=5e-4) for _ in range(workers)]
    assert run_job(alike, SHAPE, memory, chunk=chunk, observer=observer) is False
    failed = (np.arange(POINTS) >= 100) & (np.arange(POINTS) < 400)
    assert np.array_equal(memory.status, np.where(failed, FAILED, DONE))
    for point in np.flatnonzero(failed):
        assert sum(point in one.failed for one in alike) >= min(workers, 2)
    assert not observer.retirements


def test_a_worker_left_alone_goes_on() -> None:
    memory = Memory(POINTS)
    last = Failing(lambda point: len(last.computed) >= 50)
    assert run_job([broken(), last], SHAPE, memory, chunk=1) is False
    assert (memory.status == DONE).sum() == 50
    assert (memory.status == FAILED).sum() == POINTS - 50


def test_a_copy_that_fails_leaves_the_point_to_the_other() -> None:
    memory = Memory(POINTS)
    slow = Squares(seconds=lambda point: 0.3)
    quick = Failing(lambda point: point in slow_ones, seconds=0.001)
    slow_ones = {0}  # the slow worker's first, which it is given at the beginning
    assert run_job([slow, quick], SHAPE, memory, chunk=1) is False
    check_squares(memory)
    assert 0 in slow.computed


def test_speed_is_learnt_from_points_that_are_done() -> None:
    memory, hub = Memory(POINTS), ThreadHub(1)
    run_job([broken()], SHAPE, memory, hub=hub)
    assert {m.points.size for _, m in hub.sent if isinstance(m, Chunk)} == {1}


def test_failures_are_not_stored_by_workers() -> None:
    files = [Memory(POINTS), Memory(POINTS)]
    told = Memory(POINTS)

    class Told(Memory):
        def write(self, results: list[Result]) -> None:
            told.write([result for result in results if result.values is not None])

    sometimes = [Failing(lambda point: point % 7 == 3) for _ in range(2)]
    run_job(sometimes, SHAPE, Told(POINTS), chunk=20, worker_sinks=files)  # type: ignore[arg-type]
    bad = np.arange(POINTS) % 7 == 3
    assert np.array_equal(files[0].stored + files[1].stored > 0, ~bad)
    assert np.array_equal(told.stored, np.where(bad, 1, 0))
    assert (told.status[bad] == FAILED).all()


class Script(ThreadHub):
    """Says what was written beforehand; `sent` shows what the coordinator answered."""

    def __init__(self, count: int, answers: list[tuple[int, int, int, int]]) -> None:
        super().__init__(count)
        self._answers = [
            (rank, _result(rank, chunk, point, status)) for rank, chunk, point, status in answers
        ]

    def receive(self, seconds: float) -> tuple[int, ToCoordinator] | None:
        if seconds == 0.0:  # one at a time, so that each is acted upon
            return None
        if self._answers:
            return self._answers.pop(0)
        return (self.ranks.pop(), Bye()) if self.ranks else None


def _result(rank: int, chunk: int, point: int, status: int) -> Result:
    failed = status == FAILED
    return Result(
        rank,
        chunk,
        np.array([point]),
        np.array([[np.nan if failed else point**2.0]]),
        np.array([status], np.uint8),
        np.array([0.1], np.float32),
        [(point, "no")] if failed else [],
    )


def test_a_late_success_replaces_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "RARELY", 0)  # so that the numbers of chunks are known
    memory = Memory(4)
    hub = Script(
        3,
        [
            (2, 5, 1, FAILED),  # the chunk with point 1 was withdrawn from rank 0 for rank 2,
            (0, 6, 1, FAILED),  # and its second try failed as well
            (0, 2, 1, DONE),  # but the withdrawal came too late
            (0, 2, 1, DONE),  # (and replaces nothing a second time)
            (0, 1, 0, DONE),
            (1, 3, 2, DONE),
            (2, 7, 3, DONE),  # withdrawn from rank 1 for rank 2
        ],
    )
    queue = ChunkQueue((1, 4), PointSet([np.ones(4, bool)]))
    job = Coordinator(hub, queue, ChunkSizer(3, 1), memory, Listener())  # type: ignore[arg-type]
    assert job.run() == Ending(False)
    assert (memory.status == DONE).all()
    assert memory.stored.tolist() == [1, 2, 1, 1]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shares=st.lists(st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]), min_size=1, max_size=5),
    slow=st.booleans(),
    chunk=st.sampled_from([None, 1, 7, 100]),
)
def test_whatever_fails_where_the_job_ends(
    seed: int, shares: list[float], slow: bool, chunk: int | None
) -> None:
    """Every point is stored: as done if it fails nowhere, as failed if it fails everywhere."""
    generator = np.random.default_rng(seed)
    count = 8 * 15
    broken_points = generator.random((len(shares), count)) < np.array(shares)[:, None]
    workers = [
        Failing(row.__getitem__, seconds=0.001 if slow and not rank else 0.0)
        for rank, row in enumerate(broken_points)
    ]
    memory, done = Memory(count), threading.Event()

    def run() -> None:
        run_job(workers, (8, 15), memory, chunk=chunk)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(30), "the job does not end"
    assert set(np.unique(memory.status)) <= {DONE, FAILED}
    assert (memory.status[~broken_points.any(axis=0)] == DONE).all()
    assert (memory.status[broken_points.all(axis=0)] == FAILED).all()
    good = memory.status == DONE
    assert np.array_equal(memory.values[good], np.flatnonzero(good) ** 2.0)
    assert np.isnan(memory.values[~good]).all()

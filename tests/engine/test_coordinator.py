from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lossgrid.engine import dismissal, sizing, worker
from lossgrid.engine.dismissal import DesertedError
from lossgrid.engine.messages import (
    DONE,
    FAILED,
    PENDING,
    Chunk,
    Result,
    ToCoordinator,
    Withdraw,
)
from lossgrid.errors import RunFailedError, UserError
from lossgrid.exits import BAD_INPUT, UNFINISHED
from tests.engine.harness import Memory, Squares, ThreadHub, run_job

SHAPE = (9, 13)
POINTS = 9 * 13


@pytest.mark.parametrize("workers", [1, 2, 7, 200])
@pytest.mark.parametrize("chunk", [None, 1, 8, 1000])
def test_every_point_is_stored_once(workers: int, chunk: int | None) -> None:
    memory = Memory(POINTS)
    assert run_job([Squares() for _ in range(workers)], SHAPE, memory, chunk=chunk) is False
    assert (memory.stored == 1).all()
    assert (memory.status == DONE).all()
    assert np.array_equal(memory.values, np.arange(POINTS) ** 2.0)


@pytest.mark.parametrize("width", [1, 5])
def test_passes_of_several_points(width: int) -> None:
    memory = Memory(POINTS)
    run_job([Squares(width), Squares(width)], SHAPE, memory)
    assert np.array_equal(memory.values, np.arange(POINTS) ** 2.0)


class Picky(Squares):
    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        if (points % 10 == 3).any():
            raise ValueError(f"dislikes {points.max()}")
        return super().compute(points)


@pytest.mark.parametrize("width", [1, 4])
def test_a_point_that_raises_fails_alone(width: int) -> None:
    memory = Memory(POINTS)
    assert run_job([Picky(width), Picky(width)], SHAPE, memory) is False
    bad = np.arange(POINTS) % 10 == 3
    assert (memory.status[bad] == FAILED).all()
    assert (memory.status[~bad] == DONE).all()
    assert np.isnan(memory.values[bad]).all()
    assert np.array_equal(memory.values[~bad], np.flatnonzero(~bad) ** 2.0)
    assert memory.errors == {p: f"ValueError: dislikes {p}" for p in np.flatnonzero(bad)}


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_an_exception_that_cannot_be_told_fails_its_point_alone() -> None:
    class Rude(Squares):
        def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
            if points[0] == 50:
                raise UnspeakableError
            return super().compute(points)

    memory = Memory(POINTS)
    assert run_job([Rude()], SHAPE, memory) is False
    assert np.flatnonzero(memory.status == FAILED).tolist() == [50]
    assert memory.errors[50].startswith("UnspeakableError: ")


class Strange(Squares):
    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.where(points % 2, np.nan, np.inf)[:, None]


def test_nan_and_infinity_are_values() -> None:
    memory = Memory(POINTS)
    run_job([Strange()], SHAPE, memory)
    assert (memory.status == DONE).all()
    assert np.isinf(memory.values[::2]).all()


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


@pytest.mark.parametrize("whom", ["stopping", "worker_stopping"])
@pytest.mark.parametrize("chunk", [None, 1, 1000])
def test_a_stop_keeps_all_that_was_computed(whom: str, chunk: int | None) -> None:
    memory = Memory(POINTS)
    workers = [Squares(seconds=lambda point: 0.01) for _ in range(3)]
    signalled = {whom: after(0.15)}
    assert run_job(workers, SHAPE, memory, chunk=chunk, **signalled) is True  # type: ignore[arg-type]
    computed = sorted(point for worker in workers for point in worker.computed)
    assert np.flatnonzero(memory.stored).tolist() == computed
    assert 0 < len(computed) < POINTS


@pytest.mark.parametrize("width", [1, 4])
def test_a_stop_drops_points_that_take_too_long(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.1)
    memory = Memory(POINTS)
    slow = [Squares(width, lambda point: 20.0 * (point == 4), hears=True) for _ in range(2)]
    assert run_job(slow, SHAPE, memory, chunk=4 * width, stopping=after(0.3)) is True
    assert memory.status[4] == PENDING
    assert memory.stored.max() == 1
    stored = np.flatnonzero(memory.stored)
    assert set(stored.tolist()) <= {point for one in slow for point in one.computed}
    assert np.array_equal(memory.values[stored], stored**2.0)


def test_after_a_signal_nobody_waits_for_a_worker_that_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dismissal, "LEAVE_SECONDS", 0.5)
    memory = Memory(POINTS)
    stuck = [Squares(seconds=lambda point: 0.01), Squares(seconds=lambda point: 3.0)]
    with pytest.raises(DesertedError, match="without rank 1, still busy") as raised:
        run_job(stuck, SHAPE, memory, stopping=after(0.3))
    assert raised.value.status == UNFINISHED
    assert np.flatnonzero(memory.stored).tolist() == sorted(stuck[0].computed)


def test_what_a_slow_worker_has_not_begun_is_done_by_others() -> None:
    memory, hub = Memory(POINTS), ThreadHub(3)
    slow = Squares(seconds=lambda point: 0.4)
    quick = [Squares(seconds=lambda point: 0.002) for _ in range(2)]
    began = time.monotonic()
    assert run_job([slow, *quick], SHAPE, memory, chunk=1, hub=hub) is False
    assert any(rank == 0 and isinstance(m, Withdraw) for rank, m in hub.sent)
    assert (memory.stored == 1).all()
    assert len(slow.computed) <= 2
    assert time.monotonic() - began < 3


def test_what_a_slow_worker_has_begun_is_done_by_others_as_well() -> None:
    class Timed(Memory):
        def write(self, results: list[Result]) -> None:
            super().write(results)
            self.last = time.monotonic()

    memory = Timed(POINTS)
    slow = Squares(seconds=lambda point: 2.0)
    quick = [Squares(seconds=lambda point: 0.002) for _ in range(2)]
    began = time.monotonic()
    assert run_job([slow, *quick], SHAPE, memory) is False
    assert (memory.stored == 1).all()
    assert memory.last - began < 2.0
    assert len(slow.computed) == 1  # it has finished its point, and nobody waited for it
    assert sum(len(worker.computed) for worker in quick) == POINTS


def test_workers_of_one_speed_copy_nothing() -> None:
    memory = Memory(POINTS)
    alike = [Squares(seconds=lambda point: 0.02) for _ in range(5)]
    run_job(alike, SHAPE, memory)
    assert sum(len(worker.computed) for worker in alike) == POINTS


def test_a_late_answer_to_a_withdrawn_chunk_is_harmless() -> None:
    class Deaf(ThreadHub):
        """Loses every withdrawal, so that both workers compute the chunk."""

        def send(self, rank: int, message: object) -> None:
            if not isinstance(message, Withdraw):
                super().send(rank, message)  # type: ignore[arg-type]
            else:
                self.lost = True

    memory, hub = Memory(POINTS), Deaf(2)
    slow = Squares(seconds=lambda point: 0.2)
    assert run_job([slow, Squares()], SHAPE, memory, chunk=1, hub=hub) is False
    assert hub.lost
    assert (memory.stored == 1).all()


class Bare(Memory):
    """Rank 0's side where every worker stores its own points."""

    def write(self, results: list[Result]) -> None:
        assert all(result.values is None for result in results)
        for result in results:
            self.stored[result.points] += 1


class Counted(Memory):
    """Notes when each result came, and of how many points."""

    def __init__(self, points: int) -> None:
        super().__init__(points)
        self.parts: list[int] = []

    def write(self, results: list[Result]) -> None:
        super().write(results)
        self.parts += [result.points.size for result in results]


@pytest.mark.parametrize("writer", ["coordinator", "worker"])
def test_a_long_chunk_is_stored_in_parts(writer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "TARGET_SECONDS", 0.05)
    memory, hub = Counted(POINTS), ThreadHub(1)
    sinks = {"sink": memory} if writer == "coordinator" else {"sink": Bare(POINTS)}
    own = None if writer == "coordinator" else [memory]
    computing = [Squares(seconds=lambda point: 0.01)]
    assert run_job(computing, SHAPE, **sinks, chunk=1000, hub=hub, worker_sinks=own) is False  # type: ignore[arg-type]
    assert [m.points.size for _, m in hub.sent if isinstance(m, Chunk)] == [POINTS]
    assert max(memory.parts) < 15
    assert (memory.stored == 1).all()
    assert np.array_equal(memory.values, np.arange(POINTS) ** 2.0)


def test_parts_of_a_chunk_that_two_workers_compute_are_stored_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizing, "TARGET_SECONDS", 0.03)
    memory, hub = Counted(POINTS), ThreadHub(2)
    slow = Squares(seconds=lambda point: 0.01 if point < 60 else 0.05)
    quick = Squares(seconds=lambda point: 0.002)
    assert run_job([slow, quick], SHAPE, memory, chunk=60, hub=hub) is False
    given = [m.points for _, m in hub.sent if isinstance(m, Chunk)]
    assert sum(points.size for points in given) > POINTS  # what is left of the slow one's
    assert (memory.stored == 1).all()
    assert np.array_equal(memory.values, np.arange(POINTS) ** 2.0)


class Dying(Squares):
    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        if points[0] == 50:
            raise SystemExit(4)  # no Exception: the worker itself must go
        return super().compute(points)


def test_a_worker_that_cannot_go_on_ends_the_job_by_name() -> None:
    memory = Memory(POINTS)
    with pytest.raises(RunFailedError, match=r"rank \d can't go on: SystemExit: 4"):
        run_job([Dying() for _ in range(3)], SHAPE, memory)
    assert 0 < (memory.status == DONE).sum() < POINTS


def test_what_others_computed_is_stored_when_a_worker_cannot_go_on() -> None:
    class Mortal(Squares):
        def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
            if len(self.computed) == 5:
                raise SystemExit(4)
            return super().compute(points)

    memory = Memory(POINTS)
    healthy = [Squares(seconds=lambda point: 0.004) for _ in range(3)]
    with pytest.raises(RunFailedError):
        run_job([Mortal(seconds=lambda point: 0.004), *healthy], SHAPE, memory, chunk=10)
    computed = sorted(point for worker in healthy for point in worker.computed)
    assert np.flatnonzero(memory.status == DONE).tolist() == computed


def test_what_arrives_with_the_news_of_a_crash_is_stored() -> None:
    class Together(ThreadHub):
        """Lets nothing through until worker 1 has ended."""

        def receive(self, seconds: float) -> tuple[int, ToCoordinator] | None:
            while not self.links[1].to_coordinator.qsize() >= 2:
                time.sleep(0.001)
            self.receive = super().receive  # type: ignore[method-assign]
            return self.receive(seconds)

    class Dead(Squares):
        def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
            time.sleep(0.1)
            raise SystemExit(4)

    memory, quick = Memory(POINTS), Squares()
    with pytest.raises(RunFailedError, match="SystemExit: 4"):
        run_job([quick, Dead()], SHAPE, memory, chunk=5, hub=Together(2))
    assert np.flatnonzero(memory.status == DONE).tolist() == sorted(quick.computed)
    assert len(quick.computed) >= 10


class Full(Memory):
    """A disk with room for some results only."""

    def write(self, results: list[Result]) -> None:
        if (self.stored > 0).sum() > 20:
            raise UserError("No space left on device")
        super().write(results)


def test_a_full_disk_stops_everybody() -> None:
    with pytest.raises(UserError, match="No space left"):
        run_job([Squares(), Squares()], SHAPE, Full(POINTS))


def test_a_failure_does_not_wait_for_a_worker_that_never_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dismissal, "DISMISSAL_SECONDS", 0.3)
    endless = Squares(seconds=lambda point: 3.0)
    with pytest.raises(DesertedError, match="No space left") as raised:
        run_job([Squares(), endless], SHAPE, Full(POINTS))
    assert raised.value.status == BAD_INPUT


def test_workers_can_store_by_themselves() -> None:
    files = [Memory(POINTS), Memory(POINTS)]
    told = Bare(POINTS)
    run_job([Squares(), Squares()], SHAPE, told, worker_sinks=files)  # type: ignore[arg-type]
    assert (told.stored == 1).all()
    assert (files[0].stored + files[1].stored == 1).all()


def test_a_worker_with_a_full_disk_ends_the_job() -> None:
    sinks = [Memory(POINTS), Full(POINTS)]

    class Deaf(Memory):
        def write(self, results: list[Result]) -> None:
            pass

    with pytest.raises(UserError, match=r"^No space left"):
        run_job([Squares(), Squares()], SHAPE, Deaf(POINTS), chunk=1, worker_sinks=sinks)  # type: ignore[arg-type]

"""Workers that die or hang: what they have in hand goes to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lossgrid.engine import dismissal, lease
from lossgrid.engine.deaths import OrphanedError
from lossgrid.engine.desk import Out
from lossgrid.engine.links import QueueLink
from lossgrid.engine.messages import DONE, FAILED, Stop, ToWorker
from lossgrid.errors import RunFailedError
from tests.engine.harness import Listener, Memory, Squares, ThreadHub, run_job

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"  # how a worker ends without a word
)
SHAPE = (20, 30)
POINTS = 20 * 30
CHUNKS = pytest.mark.parametrize("chunk", [None, 1, 10, 1000])


class Mortal(Squares):
    """Dies at its n-th pass, before or after it has computed that."""

    def __init__(self, hub: ThreadHub, rank: int, passes: int, late: bool = False) -> None:
        super().__init__(seconds=lambda point: 1e-3)
        self._hub, self._rank, self._passes, self._late = hub, rank, passes, late

    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        self._passes -= 1
        if self._late:
            super().compute(points)
        if self._passes <= 0:
            self._hub.died.add(self._rank)
            raise OrphanedError
        return points[:, None] ** 2.0


def check_squares(memory: Memory) -> None:
    assert (memory.status == DONE).all()
    assert (memory.stored == 1).all()
    assert np.array_equal(memory.values, np.arange(memory.values.size) ** 2.0)


@CHUNKS
def test_what_the_dead_had_in_hand_is_done_by_others(chunk: int | None) -> None:
    memory, hub, observer = Memory(POINTS), ThreadHub(4), Listener()
    dying = [Mortal(hub, rank, passes=5) for rank in (1, 2, 3)]
    living = Squares(seconds=lambda point: 1e-3)
    run_job([living, *dying], SHAPE, memory, chunk=chunk, hub=hub, observer=observer)
    check_squares(memory)
    if chunk != 1000:  # all points would be in the first chunk
        assert sorted(observer.events) == [(rank, Out.DEAD, "") for rank in (1, 2, 3)]


def test_where_all_have_died_the_job_fails() -> None:
    memory, hub = Memory(POINTS), ThreadHub(2)
    with pytest.raises(RunFailedError, match="all ranks that compute have died"):
        run_job([Mortal(hub, rank, 5) for rank in range(2)], SHAPE, memory, hub=hub)
    assert (memory.status == DONE).sum() < POINTS


@settings(max_examples=40, deadline=None)
@given(
    deaths=st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=5),
    chunk=st.sampled_from([None, 1, 7, 100]),
)
def test_whoever_dies_when_every_point_is_stored_once(
    deaths: list[tuple[int, bool]], chunk: int | None
) -> None:
    memory, hub = Memory(120), ThreadHub(1 + len(deaths))
    dying = [Mortal(hub, rank, *when) for rank, when in enumerate(deaths, 1)]
    run_job([Squares(), *dying], (8, 15), memory, chunk=chunk, hub=hub)
    check_squares(memory)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEAST_SECONDS", 0.6)
    monkeypatch.setattr(lease, "FIRST_SECONDS", 0.6)
    monkeypatch.setattr(lease, "FACTOR", 1.0)
    monkeypatch.setattr(dismissal, "DISMISSAL_SECONDS", 0.6)


class Hanging(Squares):
    """Stands still at its n-th point until it is released."""

    def __init__(self, point: int = 3) -> None:
        super().__init__(seconds=lambda point: 1e-3)
        self.released = threading.Event()
        self._point = point

    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        if len(self.computed) == self._point - 1:
            self.released.wait(60)
        return super().compute(points)


class Leaving(ThreadHub):
    """Calls something when a rank is left behind, so that its thread ends."""

    def __init__(self, count: int, release: Callable[[], None]) -> None:
        super().__init__(count)
        self._release = release

    def leave_behind(self, rank: int) -> None:
        super().leave_behind(rank)
        self._release()


@pytest.mark.usefixtures("impatient")
def test_who_hangs_is_left_behind_and_its_chunk_done_by_others() -> None:
    memory, observer, hanging = Memory(POINTS), Listener(), Hanging()
    hub = Leaving(3, hanging.released.set)
    run_job([Squares(), hanging, Squares()], SHAPE, memory, chunk=4, hub=hub, observer=observer)
    check_squares(memory)
    assert observer.events == [(1, Out.SILENT, "")]
    assert hub.left_behind == {1}


@pytest.mark.usefixtures("impatient")
def test_a_late_answer_counts_once_and_more_is_given() -> None:
    class Releasing(Listener):
        def out(self, rank: int, why: Out, message: str) -> None:
            super().out(rank, why, message)
            hanging.released.set()

    memory, observer, hanging = Memory(POINTS), Releasing(), Hanging()
    usual = [Squares(seconds=lambda point: 0.02) for _ in range(2)]
    run_job([hanging, *usual], SHAPE, memory, chunk=4, observer=observer)
    check_squares(memory)
    assert observer.events[:2] == [(0, Out.SILENT, ""), (0, None, "")]
    assert len(hanging.computed) > 8


@pytest.mark.usefixtures("impatient")
def test_who_hung_between_two_chunks_is_given_more() -> None:
    """It has nothing to answer: all that it could begin has been withdrawn."""
    released, hub = threading.Event(), ThreadHub(3)

    class Deaf(QueueLink):
        def receive(self, seconds: float) -> ToWorker | None:
            if len(hanging.computed) == 4:
                released.wait(60)
            return super().receive(seconds)

    class Releasing(Listener):
        def out(self, rank: int, why: Out, message: str) -> None:
            super().out(rank, why, message)
            threading.Timer(0.05, released.set).start()  # what it had in hand is withdrawn first

    memory, observer, hanging = Memory(POINTS), Releasing(), Squares()
    hub.links[0] = Deaf()
    usual = [Squares(seconds=lambda point: 0.05) for _ in range(2)]
    run_job([hanging, *usual], SHAPE, memory, chunk=4, hub=hub, observer=observer)
    check_squares(memory)
    assert observer.events[:2] == [(0, Out.SILENT, ""), (0, None, "")]
    assert len(hanging.computed) > 4


def test_a_lonely_worker_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nobody else who could do better."""
    monkeypatch.setattr(lease, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(lease, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(lease, "FACTOR", 0.0)
    observer, began = Listener(), time.monotonic()
    run_job([Squares(seconds=lambda point: 0.7)], (1, 3), Memory(3), observer=observer)
    assert time.monotonic() - began > 2
    assert not observer.events


class Picky(Squares):
    """Fails at the last points of the finest lattice."""

    bad = np.arange(POINTS - 9, POINTS, 2)

    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        if np.isin(points, self.bad).any():
            raise ValueError("dislikes it")
        return super().compute(points)


def check_picky(memory: Memory) -> None:
    assert np.flatnonzero(memory.status == FAILED).tolist() == Picky.bad.tolist()
    assert (memory.stored == 1).all()
    assert set(memory.errors) == set(Picky.bad.tolist())


@pytest.mark.usefixtures("impatient")
def test_nothing_waits_for_who_hangs_at_what_another_has_computed() -> None:
    memory, hanging = Memory(POINTS), Hanging(point=1)
    hub = Leaving(2, hanging.released.set)
    run_job([Picky(), hanging], SHAPE, memory, hub=hub)
    check_picky(memory)
    assert hub.left_behind == {1}


@pytest.mark.usefixtures("impatient")
def test_nothing_waits_for_who_hangs_at_its_trial() -> None:
    class Broken(Hanging):
        def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
            if memory.status[points[0]] == DONE:
                self.released.wait(60)
            raise ValueError("broken")

    memory, broken = Memory(POINTS), Broken()
    hub = Leaving(2, broken.released.set)
    run_job([Picky(seconds=lambda point: 1e-3), broken], SHAPE, memory, chunk=1, hub=hub)
    check_picky(memory)
    assert hub.left_behind == {1}


@pytest.mark.usefixtures("impatient")
def test_who_is_retired_and_says_no_goodbye_is_left_behind() -> None:
    class Deaf(Leaving):
        """Rank 1 hears of no stop."""

        def send(self, rank: int, message: ToWorker) -> None:
            if rank == 0 or not isinstance(message, Stop):
                super().send(rank, message)

    class Broken(Squares):
        def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
            raise ValueError("broken")

    memory, observer = Memory(POINTS), Listener()
    hub = Deaf(2, lambda: hub.links[1].to_worker.put(Stop()))
    computing = [Squares(seconds=lambda point: 1e-3), Broken()]
    run_job(computing, SHAPE, memory, chunk=1, hub=hub, observer=observer)
    check_squares(memory)
    assert [why for _, why, _ in observer.events] == [Out.FAILING, Out.SILENT]
    assert hub.left_behind == {1}

"""Points for which memory does not suffice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lossgrid.engine.coordinator import Ending
from lossgrid.engine.messages import DONE, FAILED, PENDING, Result
from lossgrid.errors import OutOfMemoryError
from tests.engine.harness import Memory, Squares, ending_of

SHAPE = (20, 30)
POINTS = 20 * 30
CHUNKS = pytest.mark.parametrize("chunk", [None, 1, 1000])
WIDTHS = pytest.mark.parametrize("width", [1, 4])


class Hungry(Squares):
    """Out of memory at some points."""

    def __init__(self, short: set[int], width: int = 1, seconds: float = 0.0) -> None:
        super().__init__(width, lambda point: seconds)
        self._short = short
        self.tried: list[int] = []

    def compute(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        if self._short & set(points.tolist()):
            self.tried += points.tolist()
            raise OutOfMemoryError("out of memory: nothing left")
        return super().compute(points)


@CHUNKS
@WIDTHS
def test_the_job_ends_and_what_is_done_is_stored(width: int, chunk: int | None) -> None:
    memory = Memory(POINTS)
    workers = [Hungry({250}, width, seconds=1e-4) for _ in range(3)]
    ending = ending_of([*workers], SHAPE, memory, chunk=chunk)
    assert ending.unfinished
    (short,) = (rank for rank, worker in enumerate(workers) if worker.tried)
    assert ending.shortage == f"rank {short}: out of memory: nothing left"
    computed = {point for worker in workers for point in worker.computed}
    assert set(np.flatnonzero(memory.status == DONE)) == computed
    assert (memory.status[sorted(set(range(POINTS)) - computed)] == PENDING).all()
    assert not memory.errors


@CHUNKS
def test_workers_that_store_their_points_send_what_lacked_memory(chunk: int | None) -> None:
    own = [Memory(POINTS) for _ in range(2)]

    class Nothing(Memory):
        def write(self, results: list[Result]) -> None:
            pass

    workers = [Hungry({250}, seconds=1e-4) for _ in range(2)]
    ending = ending_of([*workers], SHAPE, Nothing(POINTS), chunk=chunk, worker_sinks=[*own])
    assert ending.shortage is not None
    for worker, memory in zip(workers, own, strict=True):
        assert np.flatnonzero(memory.stored).tolist() == sorted(worker.computed)
        assert not memory.errors


@CHUNKS
@WIDTHS
def test_where_nothing_smaller_follows_the_points_fail(width: int, chunk: int | None) -> None:
    memory = Memory(POINTS)
    workers = [Hungry({250, 251, 400}, width) for _ in range(2)]
    ending = ending_of([*workers], SHAPE, memory, chunk=chunk, no_smaller="in single samples")
    assert ending == Ending(False)
    failed = np.flatnonzero(memory.status == FAILED)
    assert {250, 251, 400} <= set(failed) <= {p for worker in workers for p in worker.tried}
    assert set(memory.errors) == set(failed)
    assert set(memory.errors.values()) == {"in single samples: out of memory: nothing left"}
    if width == 1:
        assert failed.tolist() == [250, 251, 400]


def test_a_point_that_one_worker_has_no_memory_for_is_computed_by_another() -> None:
    memory = Memory(POINTS)
    workers = [Hungry(set(range(POINTS))), Hungry(set(), seconds=1e-4)]
    ending = ending_of([*workers], SHAPE, memory, no_smaller="in single samples")
    assert ending == Ending(False)
    assert (memory.status == DONE).all()


@settings(max_examples=40, deadline=None)
@given(
    shorts=st.lists(st.sets(st.integers(0, 119), max_size=30), min_size=1, max_size=4),
    width=st.sampled_from([1, 4]),
    chunk=st.sampled_from([None, 1, 7, 100]),
)
def test_whoever_lacks_memory_where(shorts: list[set[int]], width: int, chunk: int | None) -> None:
    """All that could be computed before the first shortage is stored, and nothing has failed."""
    memory = Memory(120)
    workers = [Hungry(short, width) for short in shorts]
    ending = ending_of([*workers], (8, 15), memory, chunk=chunk)
    assert ending.unfinished == (memory.status == PENDING).any()
    assert (ending.shortage is not None) == ending.unfinished
    assert (memory.status != FAILED).all()
    computed = {point for worker in workers for point in worker.computed}
    assert set(np.flatnonzero(memory.status == DONE)) == computed

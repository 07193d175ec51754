"""What idle workers get of what others have in hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.engine import tail
from lossgrid.engine.desk import Desks, Task
from lossgrid.engine.sizing import ChunkSizer
from lossgrid.engine.tail import SOON_SECONDS, WORTH_COPYING, Idle, not_begun, slow
from tests.engine.clock import Clock

SECONDS = st.floats(0.01, 10.0)
BUSY = st.tuples(SECONDS, st.lists(st.integers(1, 9), min_size=1, max_size=2))
"""Seconds a point, and the sizes of chunks in hand."""


def office(
    busy: list[tuple[float, list[int]]], idle: list[float]
) -> tuple[Desks, ChunkSizer, list[int]]:
    """Desks of busy workers, then of idle ones, which are returned; and all speeds."""
    desks, sizer = Desks(range(len(busy) + len(idle))), ChunkSizer(len(busy) + len(idle))
    numbers = iter(range(1, 1000))
    for rank, (seconds, sizes) in enumerate(busy):
        sizer.record(rank, 1, seconds)
        for size in sizes:
            desks.put(rank, next(numbers), Task(np.arange(size)))
    for rank, seconds in enumerate(idle, len(busy)):
        sizer.record(rank, 1, seconds)
    return desks, sizer, list(range(len(busy), len(desks)))


@given(busy=st.lists(BUSY, max_size=8), idle=st.lists(SECONDS, max_size=8))
def test_those_begun_last_are_withdrawn(
    busy: list[tuple[float, list[int]]], idle: list[float]
) -> None:
    desks, sizer, nothing = office(busy, idle)
    found = not_begun(desks, sizer, nothing)
    waits = {r: seconds * sizes[0] for r, (seconds, sizes) in enumerate(busy) if len(sizes) == 2}
    taken = [rank for _, (rank, _) in found]
    assert [rank for rank, _ in found] == nothing[: len(waits)]
    assert len(set(taken)) == len(taken) == min(len(waits), len(nothing))
    for _, (rank, number) in found:
        assert number == list(desks[rank].chunks)[-1]
    left = [waits[rank] for rank in waits.keys() - set(taken)]
    assert not taken or not left or min(waits[rank] for rank in taken) >= max(left) * (1 - 1e-9)


@given(busy=st.lists(BUSY, max_size=8), idle=st.lists(SECONDS, min_size=1, max_size=8))
def test_copies_are_worth_it_and_none_is_missed(
    busy: list[tuple[float, list[int]]], idle: list[float]
) -> None:
    desks, sizer, nothing = office(busy, idle)
    worth = {
        (rank, number, other)
        for rank, desk in desks.items()
        for number, task in desk.chunks.items()
        for other in nothing
        if sizer.estimate(rank, task.points.size)
        > SOON_SECONDS + WORTH_COPYING * sizer.estimate(other, task.points.size)
    }
    found = slow(desks, sizer, nothing, now=0.0)
    assert {(*place, rank) for rank, place in found} <= worth
    ranks, places = {rank for rank, _ in found}, {place for _, place in found}
    assert len(ranks) == len(places) == len(found)
    quickest = min(nothing, key=lambda rank: sizer.estimate(rank, 1))
    assert (quickest in ranks) == any(rank == quickest for *_, rank in worth)


def test_what_is_silent_for_long_is_copied_once() -> None:
    desks, sizer, idle = office([(1.0, [1])], [1.0, 1.0])
    assert slow(desks, sizer, idle, now=1.9) == []
    ((rank, place),) = slow(desks, sizer, idle, now=2.1)
    desks.put(*place, desks.task(place)._replace(copy=(rank, 99)))
    assert slow(desks, sizer, idle, now=9.0) == []


def test_nobody_gets_points_back_at_which_it_has_failed() -> None:
    desks, sizer, (one, two) = office([(9.0, [1, 1])], [1.0, 1.0])
    for number, task in desks[0].chunks.items():
        desks[0].chunks[number] = task._replace(failed_on=one)
    assert not_begun(desks, sizer, [one]) == slow(desks, sizer, [one], 0.0) == []
    assert not_begun(desks, sizer, [two]) == [(two, (0, 2))]
    assert slow(desks, sizer, [two], 0.0) == [(two, (0, 1))]


def test_passes_take_a_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(tail.time, "monotonic", clock)
    idle = Idle()
    assert idle.due_in() == float("inf")
    idle.add(3)
    assert idle.due_in() == 0.0
    began = clock.now
    clock.now += 0.1
    idle.served(began)
    assert idle.due_in() == float("inf")  # until there is somebody new, or it is tried again
    idle.retry()
    assert idle.due_in() == pytest.approx(tail.RARELY * 0.1)
    clock.now += 2.0
    assert idle.due_in() == 0.0
    idle.discard(3)
    assert idle.due_in() == float("inf")


def test_what_another_has_in_hand_as_well_is_not_withdrawn() -> None:
    """It would be computed three times, and stored twice."""
    desks, sizer, (one, two) = office([(9.0, [1, 1])], [1.0, 1.0])
    desks[0].chunks[2] = desks[0].chunks[2]._replace(copy=(one, 99))
    assert not_begun(desks, sizer, [two]) == []

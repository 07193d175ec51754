"""How long a worker may be silent."""

from __future__ import annotations

import pytest

from lossgrid.engine import lease
from lossgrid.engine.desk import Desk, Out, Task
from lossgrid.engine.lease import FACTOR, FIRST_SECONDS, LEAST_SECONDS, Lease
from tests.engine.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease.time, "monotonic", clock)
    return clock


def pass_seconds(held: Lease, clock: Clock, seconds: float) -> None:
    """In which rank 0 listens every half second."""
    for _ in range(round(2 * seconds)):
        clock.now += 0.5
        held.tick()


def busy(held: Lease) -> Desk:
    return Desk(chunks={1: Task([])}, since=held.now)  # type: ignore[arg-type]


def test_a_first_chunk_may_take_long(clock: Clock) -> None:
    held = Lease()
    desk = busy(held)
    pass_seconds(held, clock, FIRST_SECONDS - 1)
    assert not held.is_over(desk)
    pass_seconds(held, clock, 2)
    assert held.is_over(desk)


@pytest.mark.parametrize("usual", [0.5, 60.0])
def test_it_adapts_to_the_slowest_answer_so_far(clock: Clock, usual: float) -> None:
    held = Lease()
    slow, quick = busy(held), busy(held)
    pass_seconds(held, clock, usual)
    held.renew(slow)
    held.renew(quick)
    enough = max(LEAST_SECONDS, FACTOR * usual)
    pass_seconds(held, clock, enough - 1)
    assert not held.is_over(quick)
    pass_seconds(held, clock, 2)
    assert held.is_over(quick)
    quick.chunks.clear()
    assert not held.is_over(quick)  # who has nothing in hand owes no answer
    quick.trial = 7
    assert held.is_over(quick)


def test_a_very_late_answer_doubles_it(clock: Clock) -> None:
    held = Lease()
    desk = busy(held)
    held.renew(desk)
    pass_seconds(held, clock, 10_000)
    desk.out = Out.SILENT
    held.renew(desk)
    desk.out = None
    pass_seconds(held, clock, 2 * LEAST_SECONDS - 1)
    assert not held.is_over(desk)
    pass_seconds(held, clock, 2)
    assert held.is_over(desk)


def test_time_in_which_rank_0_stood_still_does_not_count(clock: Clock) -> None:
    held = Lease()
    desk = busy(held)
    held.renew(desk)
    clock.now += 100_000
    held.tick()
    assert not held.is_over(desk)

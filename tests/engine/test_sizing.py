from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lossgrid.engine.sizing import (
    BUSY,
    IN_HAND,
    LARGEST,
    LONGEST_SECONDS,
    TARGET_SECONDS,
    ChunkSizer,
)

SECONDS = st.floats(1e-6, 1e4)


@given(
    ranks=st.integers(1, 64),
    seconds=SECONDS,
    remaining=st.integers(0, 10**9),
    granule=st.sampled_from([1, 4, 32]),
)
def test_a_chunk_is_short_and_a_fraction_of_what_remains(
    ranks: int, seconds: float, remaining: int, granule: int
) -> None:
    sizer = ChunkSizer(ranks, None, granule)
    sizer.record(0, 10, 10 * seconds)
    size = sizer.size(0, remaining)
    assert size % granule == 0
    if size > granule:
        assert size <= LARGEST
        assert size * seconds <= TARGET_SECONDS * 1.001
        assert size <= remaining / ranks


@given(seconds=SECONDS, factor=st.floats(1, 100), remaining=st.integers(1, 10**6))
def test_a_slower_rank_gets_no_larger_chunk(seconds: float, factor: float, remaining: int) -> None:
    sizer = ChunkSizer(2)
    sizer.record(0, 1, seconds)
    sizer.record(1, 1, seconds * factor)
    assert sizer.size(1, remaining) <= sizer.size(0, remaining)
    assert sizer.estimate(1, 5) >= sizer.estimate(0, 5)


def test_an_unknown_rank_begins_with_one_pass() -> None:
    assert ChunkSizer(4).size(2, 10**6) == 1
    assert ChunkSizer(4, None, granule=16).size(2, 10**6) == 16
    assert ChunkSizer(4).estimate(2, 1) == float("inf")


def test_the_last_chunks_are_single_points() -> None:
    sizer = ChunkSizer(4)
    sizer.record(0, 100, 0.001)
    assert sizer.size(0, 10**6) > 1000
    assert sizer.size(0, 16) == 1


def test_the_user_decides() -> None:
    sizer = ChunkSizer(4, fixed=8)
    sizer.record(0, 1, 1e-9)
    assert sizer.size(0, 10**9) == 8


def test_recent_chunks_weigh_more() -> None:
    sizer = ChunkSizer(1)
    sizer.record(0, 1, 8.0)
    for _ in range(10):
        sizer.record(0, 1, 1.0)
    assert 1.0 <= sizer.estimate(0, 1) < 1.1


def test_chunks_are_long_enough_for_the_coordinator() -> None:
    sizer = ChunkSizer(1000)
    sizer.record(0, 1, 0.01)
    assert sizer.size(0, 10**9) == 50
    sizer.pay(1e-3)  # a second for an answer of each rank
    assert sizer.seconds == 1.0 / BUSY
    assert sizer.size(0, 10**9) == 200
    assert sizer.size(0, 200 * 1000) == 200  # where guided sizes would be 50
    assert sizer.size(0, 10 * 1000) == 100  # at last it may be busy all of its time
    assert sizer.estimate(0, sizer.size(0, 10**9)) <= sizer.seconds


def test_one_long_round_changes_nothing() -> None:
    sizer = ChunkSizer(64)
    for _ in range(5):
        sizer.pay(1e-4)
    sizer.pay(30.0)
    assert sizer.seconds == TARGET_SECONDS


def test_no_cost_makes_chunks_endless() -> None:
    sizer = ChunkSizer(10_000)
    sizer.pay(1.0)
    assert sizer.seconds == LONGEST_SECONDS


@given(
    records=st.lists(st.tuples(st.integers(0, 3), st.floats(1e-9, 1e-4)), min_size=1, max_size=200)
)
def test_the_latest_speeds_count_whatever_was_before(records: list[tuple[int, float]]) -> None:
    sizer, fresh = ChunkSizer(4), ChunkSizer(4)
    for rank, seconds in records:
        sizer.record(rank, 1, seconds)
    for rank in {rank for rank, _ in records}:
        fresh.record(rank, 1, sizer.estimate(rank, 1))
    for rank in range(4):
        assert sizer.size(rank, 1000) == fresh.size(rank, 1000)


def test_a_rank_of_unknown_speed_holds_one_chunk() -> None:
    sizer = ChunkSizer(4)
    assert sizer.in_hand(1) == 1
    sizer.record(1, 1, 1.0)
    assert sizer.in_hand(1) == IN_HAND
    assert ChunkSizer(4, fixed=8).in_hand(1) == IN_HAND

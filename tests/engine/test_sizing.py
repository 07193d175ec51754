from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lossgrid.engine.sizing import LARGEST, TARGET_SECONDS, ChunkSizer

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

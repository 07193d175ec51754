from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.data import Split
from lossgrid.evaluate import GridEvaluator, streaming
from lossgrid.evaluate.batches import Member, batches, shared
from lossgrid.evaluate.streaming import Held, Streamed, following, placed, streamed
from tests.evaluate.gpus import Graph, Stream, gpu
from tests.evaluate.test_evaluator import (
    CPU,
    GRID,
    PLAN,
    evaluator,
    plane_of,
    problem,
    samples,
    trained,
)

__all__ = ["gpu"]


@given(count=st.integers(1, 300), size=st.integers(1, 64))
def test_the_batch_that_follows_is_known(count: int, size: int) -> None:
    cut = [(batch.begin, batch.end) for batch in batches(count, size)]
    for batch, after in zip(cut, [*cut[1:], cut[0]], strict=True):
        assert following(*batch, count) == after


@pytest.mark.parametrize("lazy", [False, True])
def test_rows_are_those_of_the_split(
    lazy: bool, gpu: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in use stay what they are while the next are copied."""
    monkeypatch.setattr(Stream, "lazy", lazy)
    split = Split({"a": torch.arange(23), "b": torch.randn(23, 2)}, torch.arange(23) * 10)
    found = streamed(split, CPU)
    assert len(found) == 23
    order = [(b.begin, b.end) for size in (5, 5, 4) for b in batches(23, size)]
    for begin, end in [*order, (0, 5), (0, 5), (9, 12), *order]:
        inputs, targets = found.rows(begin, end)
        assert torch.equal(inputs["a"], torch.arange(begin, end))
        assert torch.equal(inputs["b"], split.inputs["b"][begin:end])
        assert torch.equal(targets, torch.arange(begin, end) * 10)


def test_two_sets_of_buffers_serve_all_batches(gpu: list[Graph]) -> None:
    found = streamed(samples(50), CPU)
    rows = [found.rows(b.begin, b.end) for _ in range(3) for b in batches(50, 10)]
    assert len({inputs.data_ptr() for inputs, _ in rows}) == 2
    assert found.copier._stream.waits == len(rows) + 1  # for those who used them, at each copy


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("network", "points"), [("plain", 1), ("fused", 1), ("fused", 3)])
def test_points_have_the_same_bits(
    network: str, points: int, lazy: bool, gpu: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, network=network, points_per_pass=points)  # type: ignore[arg-type]
    wanted = evaluator(plan=plan)(np.arange(20))
    monkeypatch.setattr(Stream, "lazy", lazy)
    posed = problem(train=streamed(samples(), CPU), test=streamed(samples(9), CPU))
    found = GridEvaluator(posed, plane_of(trained()), GRID, plan, CPU)(np.arange(20))
    assert found[:, :2].tobytes() == wanted.tobytes()


def test_data_is_streamed_when_it_would_take_much_of_the_memory(
    gpu: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Split(torch.zeros(10, 8), torch.zeros(10, dtype=torch.int64))
    free = 2 * 10 * (8 * 4 + 8)
    device = torch.device("cuda", 0)
    placing = []
    monkeypatch.setattr(streaming, "_mapped", lambda split, change: placing.append(1) or split)
    for spare in (2, -2):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, s=spare: (free + s, 10**9))
        (found,) = placed([split], device)
        assert isinstance(found, Streamed) == (spare < 0)
    assert placing == [1, 1]


def held(split: Split, begin: int, end: int) -> Held:
    part = Split(*split.rows(begin, end))
    return Held(split.inputs, split.targets, split.prepare, part=part, rows_held=(begin, end))


def test_samples_on_the_gpu_are_not_copied_there_and_the_others_are() -> None:
    split = Split({"a": torch.arange(23)}, torch.arange(23) * 10)
    found = held(split, 5, 15)
    found.part.inputs["a"].data = found.part.inputs["a"] + 100  # to tell which are read
    for begin, end, there in [(5, 15, True), (7, 9, True), (4, 9, False), (9, 16, False)]:
        inputs, targets = found.rows(begin, end)
        assert torch.equal(inputs["a"], torch.arange(begin, end) + 100 * there)
        assert torch.equal(targets, torch.arange(begin, end) * 10)


@pytest.mark.parametrize(("network", "points"), [("plain", 1), ("fused", 1), ("fused", 3)])
def test_points_have_the_same_bits_with_some_samples_on_the_gpu(network: str, points: int) -> None:
    plan = replace(PLAN, network=network, points_per_pass=points)  # type: ignore[arg-type]
    wanted = evaluator(plan=plan)(np.arange(20))
    posed = problem(train=held(samples(), 4, 12), test=held(samples(9), 0, 0))
    found = GridEvaluator(posed, plane_of(trained()), GRID, plan, CPU)(np.arange(20))
    assert found[:, :2].tobytes() == wanted.tobytes()


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3), count=st.integers(2, 5))
def test_a_gpu_has_the_batches_that_fall_to_its_rank(sizes: list[int], count: int) -> None:
    """Where there is room for these alone; no other is read while all ranks live."""
    splits = [Split(torch.randn(size, 8), torch.arange(size)) for size in sizes]
    cut = [list(batches(size, 4)) for size in sizes]
    device = torch.device("cuda", 0)
    for place in range(count):
        own = shared(cut, place, count)
        free = 2 * sum((some[-1].end - some[0].begin) * (8 * 4 + 8) for some in own if some)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
            patch.setattr(streaming, "_on", lambda device, split: split)
            found = placed(splits, device, 4, Member(place, count))
        for split, kept, some in zip(splits, found, own, strict=True):
            if not isinstance(kept, Held):
                assert own == cut  # there is one batch in all
                continue
            for batch in some:
                there = kept.rows(batch.begin, batch.end)[0]
                assert torch.equal(there, split.rows(batch.begin, batch.end)[0])
                assert kept.rows_held[0] <= batch.begin < batch.end <= kept.rows_held[1]


def test_ranks_that_share_a_gpu_share_its_memory(
    gpu: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Split(torch.zeros(10, 8), torch.zeros(10, dtype=torch.int64))
    monkeypatch.setattr(streaming, "_on", lambda device, split: split)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 10 * (8 * 4 + 8), 10**9))
    device = torch.device("cuda", 0)
    assert placed([split], device, 4) == [split]
    assert isinstance(*placed([split], device, 4, Member(sharers=2)), Streamed)

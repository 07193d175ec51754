from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.data import Split
from lossgrid.evaluate import GridEvaluator, streaming
from lossgrid.evaluate.batches import batches
from lossgrid.evaluate.streaming import Streamed, following, placed, streamed
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

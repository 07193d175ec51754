from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lossgrid.evaluate import fusing
from lossgrid.evaluate import graphs as network_graphs
from lossgrid.evaluate.capturing import WARM_UP, Captured
from tests.evaluate.gpus import Graph, gpu
from tests.evaluate.test_evaluator import CPU, PLAN, evaluator

__all__ = ["gpu"]


def test_results_are_the_functions(gpu: list[Graph]) -> None:
    weight, calls = torch.randn(3, 3), []

    def function(weight: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        calls.append(x)
        return (x @ weight, x.relu().add_(1), x[:1])

    captured = Captured(function, 1, CPU)
    for _ in range(4):
        x = torch.randn(2, 3)
        found = captured(weight, x)
        wanted = function(weight, x)
        assert all(map(torch.equal, found, wanted))
        weight.mul_(0.5)  # a point of the grid after the other, in the same memory
    assert len(calls) == 4 + WARM_UP + 1
    assert [graph.replays for graph in gpu] == [4]


def test_other_weights_are_recorded_anew(gpu: list[Graph]) -> None:
    captured = Captured(lambda weight, x: (x * weight,), 1, CPU)
    x = torch.randn(3)
    for weight in (torch.tensor(2.0), torch.tensor(3.0)):
        (found,) = captured(weight, x)
        assert torch.equal(found, x * weight)
    assert len(gpu) == 2


def test_what_looks_at_a_value_can_not_be_recorded(gpu: list[Graph]) -> None:
    captured = Captured(lambda x: (x * float(x.sum()),), 1, CPU)
    with pytest.raises(RuntimeError, match="during capture"):
        captured(torch.ones(3))


@pytest.mark.parametrize("points", [1, 3])
def test_points_have_the_same_bits(
    points: int, gpu: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded at one point, replayed at all others; nothing is recorded twice."""
    monkeypatch.setattr(fusing, "can_join", lambda dtype: False)  # which only CPUs have
    plan = replace(PLAN, network="fused", points_per_pass=points, precision="float32")
    wanted = evaluator(plan=plan)(np.arange(20))
    monkeypatch.setattr(network_graphs, "CAPTURED", ("cpu",))
    captured = evaluator(plan=plan)
    assert captured(np.arange(20)).tobytes() == wanted.tobytes()
    assert len(gpu) == 2
    assert captured(np.arange(20)[::-1])[::-1].tobytes() == wanted.tobytes()
    assert len(gpu) == 2
    assert min(graph.replays for graph in gpu) > 10

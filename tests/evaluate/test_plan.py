from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossgrid.data import Split
from lossgrid.errors import UserError
from lossgrid.evaluate.device import lanes, own_device
from lossgrid.evaluate.plan import Plan, choose_plan
from lossgrid.job import EvaluationSpec
from lossgrid.models import digits_cnn, resnet20
from lossgrid.problem import Problem
from tests.evaluate.test_evaluator import PLAN, problem

CPU = torch.device("cpu")


def of(build: Callable[[], nn.Module], samples: int, *shape: int) -> Problem:
    return problem(build, train=Split(torch.zeros(samples, *shape), torch.zeros(samples)))


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()


def large() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 5000)).eval()


def heavy() -> nn.Module:
    """Of which 32 copies would take 89 MB."""
    return nn.Sequential(nn.Linear(64, 1500), nn.ReLU(), nn.Linear(1500, 400)).eval()


def trained_resnet() -> nn.Module:
    return resnet20().eval()


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("build", "samples", "shape", "batch_size", "points"),
    [
        (trained_resnet, 5000, (3, 32, 32), 36, 1),
        (trained_resnet, 5010, (3, 32, 32), 36, 1),
        (digits_cnn, 1437, (1, 8, 8), 360, 1),
        (small, 1797, (64,), 225, 32),
        (small, 20, (64,), 20, 32),
        (small, 40000, (64,), 286, 32),
        (small, 400000, (64,), 512, 1),
        (large, 1797, (64,), 225, 1),
        (heavy, 1797, (64,), 450, 1),
        (Decides, 10, (3, 224, 224), 10, 1),
    ],
)
def test_passes_by_rule(
    build: Callable[[], nn.Module],
    samples: int,
    shape: tuple[int, ...],
    batch_size: int,
    points: int,
) -> None:
    plan = choose_plan(EvaluationSpec(device="cpu"), of(build, samples, *shape), CPU)
    assert (plan.batch_size, plan.points_per_pass) == (batch_size, points)


def test_the_job_has_the_last_word() -> None:
    spec = EvaluationSpec(device="cpu", precision="float64", batch_size=7)
    plan = choose_plan(spec, of(small, 900, 64), CPU)
    assert (plan.batch_size, plan.dtype, plan.device) == (7, torch.float64, "cpu")


def test_convolutions_take_four_times_as_many_numbers_of_half_the_size() -> None:
    spec = EvaluationSpec(device="cpu", precision="bfloat16")
    assert choose_plan(spec, of(trained_resnet, 5000, 3, 32, 32), CPU).batch_size == 139


@pytest.mark.parametrize(
    ("pinned", "found"),
    [
        ({"points_per_pass": 7}, (450, "fused", 7)),
        ({"points_per_pass": 1}, (450, "fused", 1)),
        ({"points_per_pass": 3, "batch_size": 10}, (10, "fused", 3)),
        ({"network": "plain"}, (450, "plain", 1)),
        ({"network": "plain", "points_per_pass": 1, "batch_size": 10}, (10, "plain", 1)),
        ({"network": "fused"}, (225, "fused", 32)),
    ],
)
def test_what_the_job_pins_is_taken(pinned: dict[str, Any], found: tuple[int, str, int]) -> None:
    plan = choose_plan(EvaluationSpec(device="cpu", **pinned), of(small, 900, 64), CPU)
    assert (plan.batch_size, plan.network, plan.points_per_pass) == found


def test_a_plan_survives_its_file() -> None:
    assert Plan.from_json(PLAN.to_json()) == PLAN
    with pytest.raises(UserError, match="another version of lossgrid"):
        Plan.from_json('{"device": "cpu"}')


@pytest.mark.parametrize(
    ("device", "precision", "wanted"),
    [
        ("cpu", "float32", True),
        ("cuda", "float32", False),
        ("cuda", "tf32", True),
        ("cuda", "bfloat16", True),
    ],
)
def test_channels_are_last_where_that_is_fast(device: str, precision: str, wanted: bool) -> None:
    assert replace(PLAN, device=device, precision=precision).channels_last == wanted


def gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> torch.device:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    return torch.device("cuda", 0)


def test_tf32_needs_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EvaluationSpec(precision="tf32")
    with pytest.raises(UserError, match=r"precision: tf32 needs .* float32 or bfloat16"):
        choose_plan(spec, of(small, 9, 64), CPU)
    with pytest.raises(UserError, match="NVIDIA T4"):
        choose_plan(spec, of(small, 9, 64), gpu(monkeypatch, (7, 5)))
    assert choose_plan(spec, of(small, 9, 64), gpu(monkeypatch, (9, 0))).precision == "tf32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu() -> None:
    with pytest.raises(UserError, match="device: cuda, but torch sees no GPU"):
        own_device("cuda", 0, 1, share=False)
    assert own_device("auto", 0, 1, share=False) == CPU


def test_ranks_share_a_cpu_and_its_operations_run_on_one_thread() -> None:
    assert own_device("cpu", 3, 16, share=False) == CPU
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("said", "found"), [(None, 6), ("2", 2), ("3,2", 3), ("", 6), ("x", 6)])
def test_lanes_follow_cores_and_environment(
    said: str | None, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert lanes(CPU, cores=6) == found


def test_ranks_take_the_gpus_of_their_node_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which GPU is arithmetic, and needs none."""
    names = ["NVIDIA A100", "NVIDIA H200"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *args, **kwargs: None)
    second = torch.device("cuda", 1)
    assert own_device("auto", 1, 2, share=False) == second
    assert own_device("cuda", 3, 4, share=True) == second
    with pytest.raises(UserError, match=r"4 ranks .* share 2 GPU.*runtime\.share_gpus"):
        own_device("cuda", 1, 4, share=False)
    assert lanes(second, cores=8) == 1
    assert choose_plan(EvaluationSpec(), of(small, 9, 64), second).hardware == "NVIDIA H200"

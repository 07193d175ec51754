"""The job files that come with lossgrid."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lossgrid.job import Job, read_job
from lossgrid.problem import Problem, load_problem, prepare_checkpoint
from tests.shared import shared_file

JOBS = Path(__file__).resolve().parents[2] / "jobs"


def mean_metrics(problem: Problem, name: str, samples: int) -> dict[str, float]:
    """Means over the first samples of a split, in float32, batch by batch."""
    split, model = problem.splits[name], problem.build_model()
    sums = dict.fromkeys(problem.metrics, 0.0)
    with torch.no_grad():
        for start in range(0, samples, 100):
            inputs, targets = split.batch(start, min(start + 100, samples), torch.float32)
            outputs = model(inputs)
            for metric, function in problem.metrics.items():
                sums[metric] += float(function(outputs, targets).double().sum())
    return {metric: total / samples for metric, total in sums.items()}


def test_digits_trains_and_loads(tmp_path: Path) -> None:
    job = read_job(JOBS / "digits.yaml", [f"model.checkpoint={tmp_path}/digits.pt"])
    assert prepare_checkpoint(job)
    problem = load_problem(job)
    assert mean_metrics(problem, "test", 360)["accuracy"] >= 0.96
    assert mean_metrics(problem, "train", 1437)["accuracy"] >= 0.99


def resnet_job(depth: int, checkpoint: str) -> Job:
    arrays = shared_file("cifar10_slice.npz")
    overrides = [f"model.checkpoint={shared_file(checkpoint)}", "model.expect={}"]
    for split in ("train", "test"):
        overrides += [
            f"data.{split}.factory=lossgrid.data:npz",
            f"data.{split}.kwargs={{path: {arrays}, images: {split}_images, "
            f"labels: {split}_labels, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}",
        ]
    return read_job(JOBS / f"resnet{depth}-cifar10.yaml", overrides)


@pytest.mark.parametrize(
    ("depth", "checkpoint", "loss", "error"),
    [(20, "resnet20-12fca82f.th", 0.384205, 0.085), (56, "resnet56-4bfd9763.th", 0.359594, 0.074)],
)
def test_published_networks_score_as_measured_elsewhere(
    depth: int, checkpoint: str, loss: float, error: float
) -> None:
    """The figures come from an independent evaluation of the same files (1,000 test images)."""
    problem = load_problem(resnet_job(depth, checkpoint))
    assert len(problem.splits["train"]) == 5000
    found = mean_metrics(problem, "test", 1000)
    assert found["loss"] == pytest.approx(loss, abs=1e-5)
    assert found["accuracy"] == pytest.approx(1 - error, abs=1e-9)


@pytest.mark.parametrize("depth", [20, 56])
def test_resnet_jobs_read_cifar_as_published(depth: int) -> None:
    job = read_job(JOBS / f"resnet{depth}-cifar10.yaml")
    assert {name: spec.kwargs["train"] for name, spec in job.data.items()} == {
        "train": True,
        "test": False,
    }
    assert job.data["train"].samples == 5000
    assert job.data["test"].samples is None

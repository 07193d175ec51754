"""Measure what a grid point costs: `make bench-speed`, or `speed.py WORKLOAD...` for a part.

W1 is ResNet-56 and W2 ResNet-20, published checkpoints, over the 5,000 real training images of
LOSSGRID_SHARED. Contenders take turns in one process, after a point that warms up, so that a busy
moment of the machine meets all of them. Prints Markdown tables.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils import mkldnn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lossgrid.engine import world as worlds  # noqa: E402
from lossgrid.evaluate import GridEvaluator  # noqa: E402
from lossgrid.evaluate.device import lanes, own_device  # noqa: E402
from lossgrid.job import read_job  # noqa: E402
from lossgrid.prepare import Prepared, prepare  # noqa: E402

SHARED = Path(os.environ.get("LOSSGRID_SHARED", ROOT.parent / "shared")) / "data"
ROUNDS = 5
PLACE = (0.3, -0.2)
WORKLOADS = {
    "W1": ("resnet56-cifar10", "resnet56-4bfd9763.th", 250_971_392),
    "W2": ("resnet20-cifar10", "resnet20-12fca82f.th", 81_102_080),
}
"""Job, checkpoint, and floating-point operations of a forward pass of one image."""

Contender = Callable[[], None]


def prepared(job: str, checkpoint: str) -> Prepared:
    norm = "mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"
    npz = f"path: {SHARED / 'cifar10_slice.npz'}, images: train_images, labels: train_labels"
    settings = [
        f"model.checkpoint={SHARED / checkpoint}",
        "model.expect={}",
        f"data={{train: {{factory: 'lossgrid.data:npz', kwargs: {{{npz}, {norm}}}}}}}",
        "metrics=[loss]",
        "evaluation.device=cpu",
    ]
    return prepare(read_job(ROOT / f"jobs/{job}.yaml", settings), worlds.alone())


def ours(problem: Prepared, network: str) -> Contender:
    device = own_device("cpu", 0, 1, share=False)
    width = lanes(device, worlds.alone().cores)
    plan = replace(problem.plan, network=network)
    parts = (problem.problem, problem.plane, problem.grid, plan, device, width)
    evaluator = GridEvaluator(*parts)

    def point() -> None:
        evaluator.at([PLACE])

    return point


def eager(problem: Prepared) -> Contender:
    """The usual loop: all cores on one operation, batches of 50 images, normalized beforehand."""
    model = problem.problem.build_model()
    (split,) = problem.problem.splits.values()
    images, labels = split.batch(0, len(split), torch.float32)
    cores = worlds.alone().cores

    @torch.inference_mode()
    def point() -> None:
        torch.set_num_threads(cores)
        batches = zip(images.split(50), labels.split(50), strict=True)
        sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches)

    return point


def gemm_rate() -> float:
    """Float32 operations a second of all cores: oneDNN's matrix product with packed weights."""
    torch.set_num_threads(worlds.alone().cores)
    size = 2048
    layer = mkldnn.to_mkldnn(torch.nn.Linear(size, size).eval())
    inputs = torch.randn(size, size).to_mkldnn()
    best = float("inf")
    with torch.inference_mode():
        for _ in range(20):
            began = time.perf_counter()
            layer(inputs)
            best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def compare(workload: str) -> None:
    job, checkpoint, operations = WORKLOADS[workload]
    problem = prepared(job, checkpoint)
    contenders = {
        "lossgrid": ours(problem, "fused"),
        "lossgrid, plain network": ours(problem, "plain"),
        "eager torch": eager(problem),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    rates = []
    for turn in range(ROUNDS + 1):
        rates.append(gemm_rate())
        for name, point in contenders.items():
            began = time.perf_counter()
            point()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    floor = operations * 5000 / statistics.median(rates)
    print(f"packed GEMM {statistics.median(rates) / 1e9:.0f} GFLOP/s: {floor:.3g} s a point\n")
    print("| contender | seconds a point | least | most | share of the GEMM rate |")
    print("| --- | --- | --- | --- | --- |")
    for name, found in seconds.items():
        median = statistics.median(found)
        row = f"{median:.3g} | {min(found):.3g} | {max(found):.3g} | {floor / median:.0%}"
        print(f"| {name} | {row} |", flush=True)


def main() -> None:
    for workload in sys.argv[1:] or WORKLOADS:
        print(f"\n### {workload}\n", flush=True)
        compare(workload)


if __name__ == "__main__":
    main()

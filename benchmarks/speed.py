"""Measure what a grid point costs: `make bench-speed`, or `speed.py WORKLOAD...` for a part.

W1 is ResNet-56 and W2 ResNet-20, published checkpoints, over the 5,000 real training images of
LOSSGRID_SHARED; W3 is a perceptron 64-128-10 over 1,797 x 64 numbers. Contenders take turns in one
process, after a turn that warms up, so that a busy moment of the machine meets all of them. With
PEERS=folder (see benchmarks/peers.py) the existing tools are among them. Prints Markdown tables.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import mkldnn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.peers import MEAN, STD, Contender, contenders  # noqa: E402
from lossgrid import models  # noqa: E402
from lossgrid.data import Split  # noqa: E402
from lossgrid.data.normalization import ImageNormalization  # noqa: E402
from lossgrid.engine import world as worlds  # noqa: E402
from lossgrid.evaluate import GridEvaluator, choose_plan  # noqa: E402
from lossgrid.evaluate.device import keep_memory, lanes, own_device  # noqa: E402
from lossgrid.job import DirectionsSpec, EvaluationSpec  # noqa: E402
from lossgrid.problem import Problem, load_checkpoint  # noqa: E402
from lossgrid.problem.losses import cross_entropy  # noqa: E402
from lossgrid.space import Grid, Layout, Plane  # noqa: E402
from lossgrid.space.directions import random_direction  # noqa: E402
from lossgrid.space.normalization import normalize  # noqa: E402

SHARED = Path(os.environ.get("LOSSGRID_SHARED", ROOT.parent / "shared")) / "data"
ROUNDS = int(os.environ.get("ROUNDS", "5"))
CORES = worlds.alone().cores
GRID = Grid(np.linspace(-1, 1, 51), np.linspace(-1, 1, 51))
OPERATIONS = {"W1": 250_971_392, "W2": 81_102_080, "W3": 2 * (64 * 128 + 128 * 10)}
"""Floating-point operations of a forward pass of one sample."""


def posed(workload: str) -> Problem:
    """The workload as lossgrid sees it."""
    if workload == "W3":
        torch.manual_seed(0)
        model: nn.Module = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        split = Split(torch.rand(1797, 64), torch.randint(10, (1797,)))
    else:
        arrays = np.load(SHARED / "cifar10_slice.npz")
        images, labels = (torch.from_numpy(arrays[f"train_{n}"]) for n in ("images", "labels"))
        split = Split(images, labels.long(), ImageNormalization(MEAN, STD))
        model = models.resnet56() if workload == "W1" else models.resnet20()
        name = "resnet56-4bfd9763.th" if workload == "W1" else "resnet20-12fca82f.th"
        load_checkpoint(model, SHARED / name)

    def build() -> nn.Module:
        import copy

        return copy.deepcopy(model).eval()

    return Problem(build, {"train": split}, cross_entropy, {"loss": cross_entropy})


def plane_of(model: nn.Module) -> Plane:
    """Two random filter-normalized directions."""
    layout = Layout.of(model, DirectionsSpec.model_validate({}))
    theta = {name: p.detach().double() for name, p in model.named_parameters()}
    theta = {entry.name: theta[entry.name] for entry in layout.entries}
    drawn = [normalize(random_direction(layout, 0, axis), theta, "filter") for axis in "xy"]
    corners = [layout.flatten(corner, torch.float64) for corner in (theta, *drawn)]
    return Plane(layout, torch.stack(corners), False, dict(zip("xy", drawn, strict=True)))


def ours(problem: Problem, precision: str, plain: bool = False) -> Contender:
    """Passes of lossgrid by its own plan."""
    device = own_device("cpu", 0, 1, share=False)
    keep_memory(device)
    spec = EvaluationSpec.model_validate({"device": "cpu", "precision": precision})
    plan = choose_plan(spec, problem, device)
    if plain:
        plan = replace(plan, network="plain", points_per_pass=1)
    plane = plane_of(problem.build_model())
    evaluator = GridEvaluator(problem, plane, GRID, plan, device, lanes(device, CORES))
    count = 1 if plan.batch_size * 20 < len(problem.splits["train"]) else 640
    points = np.arange(count)

    def pass_through() -> int:
        evaluator(points)
        return len(points)

    print(f"{precision}{', plain' if plain else ''}: {plan.form}, batches of {plan.batch_size}")
    return pass_through


def eager(model: nn.Module, inputs: Tensor, labels: Tensor) -> Contender:
    """The usual loop: all cores on one operation, batches of 50, normalized beforehand."""

    @torch.inference_mode()
    def point() -> int:
        batches = zip(inputs.split(50), labels.split(50), strict=True)
        sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches)
        return 1

    return point


def gemm_rate(dtype: torch.dtype) -> float:
    """Operations a second of all cores: oneDNN's matrix product with packed weights."""
    torch.set_num_threads(CORES)
    size = 2048
    layer = mkldnn.to_mkldnn(nn.Linear(size, size).eval(), dtype)
    inputs = torch.randn(size, size, dtype=dtype).to_mkldnn()
    best = float("inf")
    with torch.inference_mode():
        for _ in range(20):
            began = time.perf_counter()
            layer(inputs)
            best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def timed(contender: Contender) -> float:
    """Seconds a point; what a peer prints is left out."""
    torch.set_num_threads(CORES)
    time.sleep(0.3)  # until the threads of the one before have ceased to spin
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        count = contender()
    return (time.perf_counter() - began) / count


def compare(workload: str) -> None:
    """One table."""
    problem = posed(workload)
    (split,) = problem.splits.values()
    inputs, labels = split.batch(0, len(split), torch.float32)
    model = problem.build_model().requires_grad_(False)
    fields: dict[str, Contender] = {
        "lossgrid": ours(problem, "float32"),
        "lossgrid, bfloat16": ours(problem, "bfloat16"),
        "lossgrid, plain network": ours(problem, "float32", plain=True),
        "eager torch, batches of 50": eager(model, inputs, labels),
    }
    if "PEERS" in os.environ:
        pictures = split.inputs if split.prepare is not None else None
        folder = Path(os.environ["PEERS"])
        fields |= contenders(folder, problem.build_model(), inputs, labels, pictures)
    seconds: dict[str, list[float]] = {name: [] for name in fields}
    rates: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for turn in range(ROUNDS + 1):
        for dtype, found in rates.items():
            found.append(gemm_rate(dtype))
        for name, contender in fields.items():
            took = timed(contender)
            if turn:
                seconds[name].append(took)
    report(OPERATIONS[workload] * len(split), seconds, rates)


def report(
    operations: int, seconds: dict[str, list[float]], rates: dict[torch.dtype, list[float]]
) -> None:
    """Medians, and ratios of medians."""
    floors = {dtype: operations / statistics.median(found) for dtype, found in rates.items()}
    for dtype, floor in floors.items():
        rate = statistics.median(rates[dtype]) / 1e9
        print(f"packed GEMM {str(dtype)[6:]} {rate:.0f} GFLOP/s: {floor * 1e3:.4g} ms a point")
    print("\n| contender | ms a point | least | most | share of the GEMM rate | lossgrid is |")
    print("| --- | --- | --- | --- | --- | --- |")
    ours = statistics.median(seconds["lossgrid"])
    for name, found in seconds.items():
        median = statistics.median(found)
        floor = floors[torch.bfloat16 if "bfloat16" in name else torch.float32]
        row = " | ".join(f"{value * 1e3:.4g}" for value in (median, min(found), max(found)))
        print(f"| {name} | {row} | {floor / median:.0%} | {median / ours:.3g} x |", flush=True)


def main() -> None:
    for workload in sys.argv[1:] or OPERATIONS:
        print(f"\n### {workload}, {CORES} cores, {ROUNDS} rounds\n", flush=True)
        compare(workload)


if __name__ == "__main__":
    main()

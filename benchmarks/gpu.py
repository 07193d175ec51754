"""Measure what lossgrid makes of a GPU: `make bench-gpu`, or `gpu.py [FILE]`, alone on one GPU.

ResNet-56 over 50,000 images and its fourfold width over 10,000 (the real training images of
LOSSGRID_SHARED repeated; random ones where there are none: this measures throughput), and a
perceptron 64-128-10 over 1,797 x 64 numbers. Values are compared with a loop in float64 first. The
machine's own rates are measured in the same run. Prints a Markdown table, writes all of it to FILE
(out/gpu.json), and takes less than ten minutes. Exit status: 1 wrong values, 2 no GPU.
"""

from __future__ import annotations

import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.peers import MEAN, STD  # noqa: E402
from benchmarks.speed import GRID, SHARED, plane_of  # noqa: E402
from lossgrid import models  # noqa: E402
from lossgrid.data import Split  # noqa: E402
from lossgrid.data.normalization import ImageNormalization  # noqa: E402
from lossgrid.evaluate import GridEvaluator, choose_plan  # noqa: E402
from lossgrid.evaluate.device import lanes, own_device, tf32  # noqa: E402
from lossgrid.evaluate.tuning import shortened  # noqa: E402
from lossgrid.job import EvaluationSpec  # noqa: E402
from lossgrid.problem import Problem  # noqa: E402
from lossgrid.problem.losses import cross_entropy  # noqa: E402
from lossgrid.space import Plane  # noqa: E402

PRECISIONS = ("float32", "tf32", "bfloat16")
ROUNDS = 5
SECONDS = 25.0
"""Spent on the rounds of one row at most, but for its last round."""

COMPARED = 1000
"""Samples on which values are compared with float64."""

WITHIN = {"float32": 1e-4, "tf32": 0.02, "bfloat16": 0.2}
"""Relative error beyond which values are wrong, whatever rounding may do."""

NINE = [row * 51 + column for row in (0, 25, 50) for column in (0, 25, 50)]
"""Points of the grid: corners, middles of edges, centre."""


@dataclass(frozen=True)
class Work:
    """What a sample's forward pass comes to, however well it is done.

    Attributes:
        operations: of convolutions and linear layers, a product and a sum being two.
        numbers: that these read and write, everything between them being done on the way.
    """

    operations: int
    numbers: int


@dataclass(frozen=True)
class Row:
    """One workload in one precision; seconds are those of a point."""

    workload: str
    precision: str
    plan: str
    samples: int
    median: float
    least: float
    most: float
    rounds: int
    operations: int
    bytes: int
    binds: str
    share: float
    busy: float
    error: float


def images(count: int) -> Split:
    """So many images of CIFAR's size."""
    path = SHARED / "cifar10_slice.npz"
    if path.exists():
        arrays = np.load(path)
        pixels, labels = (torch.from_numpy(arrays[f"train_{n}"]) for n in ("images", "labels"))
    else:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (5000, 3, 32, 32), generator=generator, dtype=torch.uint8)
        labels = torch.randint(10, (5000,), generator=generator)
    order = torch.arange(count) % len(pixels)
    return Split(pixels[order], labels[order].long(), ImageNormalization(MEAN, STD))


def vectors() -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(
        torch.rand(1797, 64, generator=generator), torch.randint(10, (1797,), generator=generator)
    )


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


WORKLOADS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Split]]] = {
    "ResNet-56": (models.resnet56, partial(images, 50_000)),
    "ResNet-56, 4 x width": (partial(models.resnet56, width=4), partial(images, 10_000)),
    "64-128-10": (perceptron, vectors),
}


def posed(build: Callable[[], nn.Module], split: Split, device: torch.device) -> Problem:
    """Weights as they are drawn, with BatchNorm's statistics of such data."""
    torch.manual_seed(0)
    model = build().to(device).train()
    inputs, _ = split.batch(0, min(256, len(split)), torch.float32)
    with torch.no_grad():
        for _ in range(20):
            model(inputs.to(device))
    model.cpu().eval()
    return Problem(
        partial(copy.deepcopy, model), {"train": split}, cross_entropy, {"loss": cross_entropy}
    )


def work(model: nn.Module, inputs: Tensor) -> Work:
    """Count what each layer does with one sample, of which no value is computed."""
    counts = []

    def count(layer: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
        weight: Any = layer.weight
        of_a_result = weight[0].numel()  # products that are summed
        counts.append((2 * made.numel() * of_a_result, given[0].numel() + made.numel()))

    model = copy.deepcopy(model).to("meta")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    model(inputs[:1].to("meta"))
    return Work(*(sum(column) for column in zip(*counts, strict=True)))


def truth(problem: Problem, plane: Plane, device: torch.device) -> list[float]:
    """Mean losses at nine points, by a loop in float64 that uses nothing of lossgrid.evaluate."""
    (split,) = problem.splits.values()
    inputs, targets = split.batch(0, len(split), torch.float64)
    model = problem.build_model().double().to(device)
    still = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = []
    for point in NINE:
        alpha, beta = GRID.at(point)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                moved = still[name].clone()
                directions = plane.directions.values()
                for coordinate, direction in zip((alpha, beta), directions, strict=True):
                    if name in direction:
                        moved += coordinate * direction[name].to(device, torch.float64)
                parameter.copy_(moved)
            losses = [
                F.cross_entropy(model(x.to(device)), y.to(device), reduction="sum").item()
                for x, y in zip(inputs.split(250), targets.split(250), strict=True)
            ]
        found.append(sum(losses) / len(split))
    return found


def evaluator(
    problem: Problem, plane: Plane, precision: str, device: torch.device
) -> GridEvaluator:
    """By the rules, as a run would choose; `check` is left out, as values are compared here."""
    spec = EvaluationSpec.model_validate({"device": device.type, "precision": precision})
    plan = choose_plan(spec, problem, device)
    return GridEvaluator(problem, plane, GRID, plan, device, lanes(device, 1))


def error(problem: Problem, plane: Plane, precision: str, device: torch.device) -> float:
    """Largest relative difference from float64 at nine points."""
    true = np.array(truth(problem, plane, device))
    found = evaluator(problem, plane, precision, device)(np.array(NINE))[:, 0]
    return float(np.abs(found / true - 1).max())


def matrix_rate(precision: str, device: torch.device, size: int = 8192) -> float:
    """Operations a second of a product of square matrices."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    made = torch.empty_like(one)
    if precision == "tf32":
        with tf32():
            seconds = best(lambda: torch.mm(one, other, out=made), device)
    else:
        seconds = best(lambda: torch.mm(one, other, out=made), device)
    return 2 * size**3 / seconds


def bandwidth(device: torch.device, size: int = 1 << 30) -> float:
    """Bytes a second that a copy reads and writes."""
    one = torch.zeros(size, dtype=torch.uint8, device=device)
    other = torch.empty_like(one)
    return 2 * size / best(lambda: other.copy_(one), device)


def best(operation: Callable[[], object], device: torch.device, times: int = 20) -> float:
    """Least seconds that an operation takes, of several runs after three."""
    seconds = []
    for _ in range(times + 3):
        wait(device)
        began = time.perf_counter()
        operation()
        wait(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[3:])


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def busy(passes: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Share of the time of passes (without a profiler) in which the GPU's kernels run."""
    from torch.profiler import ProfilerActivity, profile

    if device.type != "cuda":
        return math.nan
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        passes()
    microseconds = sum(float(event.self_device_time_total) for event in seen.key_averages())
    return microseconds / 1e6 / seconds


def measured(
    name: str, precision: str, problem: Problem, rates: dict[str, float], device: torch.device
) -> Row:
    """One row of the table."""
    (split,) = problem.splits.values()
    plane = plane_of(problem.build_model())
    apart = error(shortened(problem, COMPARED), plane, precision, device)
    evaluate = evaluator(problem, plane, precision, device)
    points = np.arange(16 * evaluate.points_per_pass if evaluate.points_per_pass > 1 else 1)
    evaluate(points)  # warms up
    rounds: list[float] = []
    while len(rounds) < ROUNDS and sum(rounds) < SECONDS:
        wait(device)
        began = time.perf_counter()
        evaluate(points)
        rounds.append(time.perf_counter() - began)
    share_busy = busy(lambda: evaluate(points), statistics.median(rounds), device)
    seconds = [one / len(points) for one in rounds]
    inputs, _ = split.batch(0, 1, torch.float32)
    each = work(problem.build_model(), inputs)
    size = 2 if precision == "bfloat16" else 4
    operations, moved = each.operations * len(split), each.numbers * len(split) * size
    floors = {"products": operations / rates[precision], "memory": moved / rates["bandwidth"]}
    binds = max(floors, key=floors.__getitem__)
    median = statistics.median(seconds)
    return Row(
        workload=name,
        precision=precision,
        plan=f"{evaluate.plan.form}, batches of {evaluate.plan.batch_size}",
        samples=len(split),
        median=median,
        least=min(seconds),
        most=max(seconds),
        rounds=len(rounds),
        operations=operations,
        bytes=moved,
        binds=binds,
        share=floors[binds] / median,
        busy=share_busy,
        error=apart,
    )


def table(rows: list[Row]) -> str:
    """Markdown; seconds in milliseconds."""
    heads = [
        *("workload", "precision", "ms a point", "least", "most", "points/s", "TFLOP/s"),
        *("binds", "share of it", "GPU busy", "from float64"),
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for row in rows:
        milliseconds = (f"{1e3 * one:.4g}" for one in (row.median, row.least, row.most))
        cells = [row.workload, row.precision, *milliseconds, f"{1 / row.median:.4g}"]
        cells += [f"{row.operations / row.median / 1e12:.3g}", row.binds, f"{row.share:.0%}"]
        cells += [f"{row.busy:.0%}", f"{row.error:.1g}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write(path: Path, name: str, rates: dict[str, float], rows: list[Row]) -> None:
    """All of it, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"gpu": name, "torch": torch.__version__, "rates": rates}
    path.write_text(json.dumps({**made, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def main() -> int:
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py: torch sees no GPU here; run it where there is one")
        return 2
    device = own_device("cuda", 0, 1, share=False)
    rates = {precision: matrix_rate(precision, device) for precision in PRECISIONS}
    rates["bandwidth"] = bandwidth(device)
    name = torch.cuda.get_device_name(device)
    said = ", ".join(f"{p} {rates[p] / 1e12:.0f} TFLOP/s" for p in PRECISIONS)
    print(f"{name}: {said} (square matrices), {rates['bandwidth'] / 1e9:.0f} GB/s (copy)\n")
    rows = []
    for workload, (build, split) in WORKLOADS.items():
        problem = posed(build, split(), device)
        for precision in PRECISIONS:
            rows.append(measured(workload, precision, problem, rates, device))
            torch.cuda.empty_cache()
    print(table(rows))
    for row in rows:
        print(f"{row.workload}, {row.precision}: {row.plan}")
    write(Path(sys.argv[1] if sys.argv[1:] else "out/gpu.json"), name, rates, rows)
    wrong = [row for row in rows if not row.error <= WITHIN[row.precision]]
    for row in wrong:
        print(f"wrong values: {row.workload} in {row.precision} is {row.error:.1g} from float64")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

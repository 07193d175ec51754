"""Measure what curvature at a point costs: `make bench-curvature`.

In units of loss-and-gradient evaluations of the user's own module over the same samples, in batches
of the plan, on one thread; each is timed beside the others, as a machine's speed drifts. ResNet-20
over IMAGES of the real training images in LOSSGRID_SHARED, and an MLP 64-128-10 over the digits.
Prints a Markdown table, in a minute.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lossgrid.curvature.derivatives import Derivatives  # noqa: E402
from lossgrid.curvature.extremes import extremes  # noqa: E402
from lossgrid.engine import world as worlds  # noqa: E402
from lossgrid.evaluate.device import keep_memory  # noqa: E402
from lossgrid.evaluate.plan import Plan  # noqa: E402
from lossgrid.job import read_job  # noqa: E402
from lossgrid.run.choose import choose  # noqa: E402
from lossgrid.run.load import Loaded, free_memory, load  # noqa: E402

SHARED = Path(os.environ.get("LOSSGRID_SHARED", ROOT.parent / "shared")) / "data"
IMAGES = int(os.environ.get("IMAGES", "150"))
REPEATS = int(os.environ.get("REPEATS", "5"))
PLACE = (0.5, 0.5)
ITERATIONS = 30

GRID = "grid: {alpha: {min: -1, max: 1, points: 5}, beta: {min: -1, max: 1, points: 5}}"
JOBS = {
    f"ResNet-20, {IMAGES} images": f"""
model: {{factory: lossgrid.models:resnet20, checkpoint: {SHARED / "resnet20-12fca82f.th"}}}
data:
  train:
    factory: lossgrid.data:npz
    samples: {IMAGES}
    kwargs: {{path: {SHARED / "cifar10_slice.npz"}, images: train_images, labels: train_labels,
      mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
{GRID}
""",
    "MLP 64-128-10, 1,437 digits": f"""
model: {{factory: mlp.py:build}}
data: {{train: {{factory: mlp.py:digits}}}}
{GRID}
""",
}
MLP = """
import torch
from torch import nn
from lossgrid.data import digits as images


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def digits():
    return images(train=True)
"""


def main() -> None:
    print(f"torch {torch.__version__}, one thread, median of {REPEATS} (least to most)\n")
    columns = [
        "in gradients of the module",
        "such a gradient, s",
        "product, graphs not kept",
        "product",
        "gradient",
        f"each of {ITERATIONS} iterations at {PLACE}",
    ]
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for name, text in JOBS.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "mlp.py").write_text(MLP)
            path = Path(folder) / "job.yaml"
            path.write_text(text)
            job = read_job(path)
            loaded = load(job, worlds.alone())
        plan = choose(job, loaded, None, free_memory(loaded)).plan
        keep_memory(loaded.device)
        print(row(name, loaded, plan), flush=True)


def row(name: str, loaded: Loaded, plan: Plan) -> str:
    """A network's costs."""
    slow = derivatives(loaded, replace(plan, network="plain"), 0)
    again = derivatives(loaded, plan, 0)
    kept = derivatives(loaded, plan, 4 << 30)
    vector = slow.drawn(0, 0, "lanczos")
    works = [
        partial(slow.gradient, "train"),
        partial(again.product, "train", vector),
        partial(kept.product, "train", vector),
        partial(kept.gradient, "train"),
    ]
    for work in works:
        work()
    times = [[seconds(work) for work in works] for _ in range(REPEATS)]
    base = [alone for alone, *_ in times]
    shares = [[one[column] / one[0] for one in times] for column in (1, 2, 3)]
    kept.move(PLACE)
    began = time.perf_counter()
    found = extremes(partial(kept.product, "train"), vector, 1e-9, ITERATIONS)
    point = (time.perf_counter() - began) / statistics.median(base) / found.iterations
    cells = [name, spread(base), *map(spread, shares), f"{point:.2f}"]
    return "| " + " | ".join(cells) + " |"


def derivatives(loaded: Loaded, plan: Plan, room: int) -> Derivatives:
    found = Derivatives(loaded.problem, loaded.plane, plan, loaded.device, 1, ["train"], room)
    found.move((0.0, 0.0))
    found.try_batch("train")
    return found


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

"""Measure what curvature at a point costs: `make bench-curvature`.

In units of loss-and-gradient evaluations over the same images: what lossgrid itself takes for one
(the plain network, batches of the plan, one lane). ResNet-20 at theta and at a corner of its plane,
over IMAGES of the real training images in LOSSGRID_SHARED. Prints a Markdown table.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lossgrid.curvature.derivatives import Derivatives  # noqa: E402
from lossgrid.curvature.lanczos import extremes  # noqa: E402
from lossgrid.engine import world as worlds  # noqa: E402
from lossgrid.job import read_job  # noqa: E402
from lossgrid.prepare import choose, free_memory, load  # noqa: E402

SHARED = Path(os.environ.get("LOSSGRID_SHARED", ROOT.parent / "shared")) / "data"
IMAGES = int(os.environ.get("IMAGES", "500"))
REPEATS = int(os.environ.get("REPEATS", "5"))
PLACES = ((0.0, 0.0), (0.5, 0.5))

JOB = f"""
model: {{factory: lossgrid.models:resnet20, checkpoint: {SHARED / "resnet20-12fca82f.th"}}}
data:
  train:
    factory: lossgrid.data:npz
    samples: {IMAGES}
    kwargs: {{path: {SHARED / "cifar10_slice.npz"}, images: train_images, labels: train_labels,
      mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
grid: {{alpha: {{min: -1, max: 1, points: 5}}, beta: {{min: -1, max: 1, points: 5}}}}
"""


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(JOB)
        job, world = read_job(path), worlds.alone()
        loaded = load(job, world)
    plan = choose(job, loaded, None, free_memory(loaded, world)).plan
    derivatives = Derivatives(loaded.problem, loaded.plane, plan, loaded.device, 1, ["train"])
    vector = derivatives.drawn(0, 0, "lanczos")
    gradient = partial(derivatives.gradient, "train")
    product = partial(derivatives.product, "train")
    gradient(), product(vector)
    alone, pairs = [], []
    for _ in range(REPEATS):  # in turn, as a machine's speed drifts
        alone.append(seconds(gradient))
        pairs.append(seconds(partial(product, vector)) / alone[-1])
    base = statistics.median(alone)
    print(f"ResNet-20, {IMAGES} images, {derivatives.size} parameters, batches of", plan.batch_size)
    print(f"torch {torch.__version__}, one thread, median of {REPEATS} (least to most)\n")
    print("| | |\n| --- | --- |")
    print(f"| loss and gradient | {base:.2f} s ({min(alone):.2f} to {max(alone):.2f}) |")
    middle = statistics.median(pairs)
    print(f"| product / gradient | {middle:.2f} ({min(pairs):.2f} to {max(pairs):.2f}) |")
    for place in PLACES:
        derivatives.move(place)
        began = time.perf_counter()
        found = extremes(product, vector, 0.01, 100)
        cost = (time.perf_counter() - began) / base
        print(
            f"| eigenvalues at {place} | {found.smallest:.4g}, {found.largest:.4g}: "
            f"{found.iterations} iterations, {cost:.0f} gradients, "
            f"{cost / found.iterations:.2f} an iteration |",
            flush=True,
        )


if __name__ == "__main__":
    main()

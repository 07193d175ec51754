"""Benchmark of trajectories: what `lossgrid trajectory` costs over many large checkpoints.

python benchmarks/checkpoints.py --folder /scratch/run --checkpoints 75 150 300 --millions 25

Makes a random walk in the space of weights, a file a step, of 4 bytes a weight; removes them at
the end. Memory is the process's peak, parts of files that are mapped into it included.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml

LAYER = 1000
"""Inputs and outputs of a layer: a million weights each."""

NETWORK = f"""
from torch import nn


def network(millions):
    return nn.Sequential(*[nn.Linear({LAYER}, {LAYER}, bias=False) for _ in range(millions)])
"""


def main() -> None:
    """Make the files, and run the command over the last so many of them."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="is made, and removed")
    arguments.add_argument("--checkpoints", type=int, nargs="+", default=[5, 10, 20])
    arguments.add_argument("--millions", type=int, default=5, help="of weights")
    options = arguments.parse_args()
    options.folder.mkdir(parents=True)
    try:
        make(options.folder, max(options.checkpoints), options.millions)
        print("checkpoints  seconds  peak MB", flush=True)
        for count in options.checkpoints:
            seconds, peak = measured(options.folder, count, options.millions)
            print(f"{count:>11}  {seconds:>7.1f}  {peak / 1e6:>7.0f}", flush=True)
    finally:
        shutil.rmtree(options.folder)


def make(folder: Path, count: int, millions: int) -> None:
    """Write checkpoints count - 1 down to 0: steps of a walk, each along other random numbers."""
    generator = torch.Generator().manual_seed(0)
    names = [f"{layer}.weight" for layer in range(millions)]
    weights = torch.randn(millions, LAYER, LAYER, generator=generator)
    noise = torch.randn(millions, LAYER, LAYER, generator=generator)
    for number in range(count):
        weights += 0.1 * noise.roll(7919 * number)  # as good as new ones, and 20 times as fast
        state = {name: weight.clone() for name, weight in zip(names, weights, strict=True)}
        torch.save({"epoch": number, "state_dict": state}, folder / f"epoch-{number}.pt")


def measured(folder: Path, count: int, millions: int) -> tuple[float, int]:
    """Seconds and peak bytes of the command over the last checkpoints."""
    files = sorted(folder.glob("epoch-*.pt"), key=lambda path: int(path.stem[6:]))[-count:]
    (folder / "network.py").write_text(NETWORK)
    settings = {
        "model": {
            "factory": "network.py:network",
            "kwargs": {"millions": millions},
            "checkpoint": str(files[-1]),
        },
        "data": {"test": {"factory": "network.py:network"}},
        "directions": {"kind": "pca", "checkpoints": list(map(str, files))},
        "grid": {axis: {"min": -1, "max": 1, "points": 3} for axis in ("alpha", "beta")},
    }
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(settings))
    began = time.monotonic()
    command = [sys.executable, __file__, "--command", str(job)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.monotonic() - began, int(done.stdout)


def peak(job: Path) -> int:
    """Run the command in this process, which does nothing else; its peak of memory in bytes."""
    from lossgrid.run.projecting import trajectory

    trajectory(job, [])
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--command"]:
        print(peak(Path(sys.argv[2])))
    else:
        main()

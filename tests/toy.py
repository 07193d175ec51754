"""A job small enough to run many times: a two-layer network on 40 made-up samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

USER_CODE = '''
from pathlib import Path
import torch
from torch import nn

HERE = Path(__file__).parent


def model(hidden=8, classes=3):
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def data(samples=40, classes=3):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, 4, generator=generator)
    return inputs, torch.randint(classes, (samples,), generator=generator)


def touchy(outputs, targets):
    """Fails far from theta as long as the file `broken` lies beside this one."""
    if outputs.abs().max() > 2 and (HERE / "broken").exists():
        raise ValueError("too far out")
    return outputs.square().mean(dim=1)


def picky(outputs, targets):
    if len(outputs) > 2:  # passes the trial on two samples
        raise ValueError("too many")
    return outputs[:, 0]


def unbounded(outputs, targets):
    """Infinite far from theta, NaN beyond."""
    far = outputs.abs().max()
    return outputs[:, 0] * 0 + (float("nan") if far > 2.5 else float("inf") if far > 2 else 1.0)


def endless(outputs, targets):
    """Quick for the first points (and theta, and the trial), then an hour long."""
    import time
    endless.calls += 1
    time.sleep(3600 if endless.calls > 24 else 0)
    float(outputs[0, 0])  # so one point a pass
    return outputs.square().mean(dim=1)


endless.calls = 0


def tardy(outputs, targets):
    import time
    time.sleep(0.005)
    float(outputs[0, 0])  # so it is not recorded
    return outputs[:, 0]


def hungry(outputs, targets):
    """Out of memory for batches larger than `limit` says, on the rank that it names."""
    import os
    hungry.calls += 1
    rank, calls, most = map(int, (HERE / "limit").read_text().split())
    here = int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")))
    float(outputs[0, 0])  # so one point a pass
    if rank in (here, -1) and hungry.calls > calls and len(outputs) > most:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return outputs.square().mean(dim=1)


hungry.calls = 0


def reserving(outputs, targets):
    """Takes 50 MB of address space a sample; after 30 calls the process may have 1.5 GB more."""
    import resource
    reserving.calls += 1
    float(outputs[0, 0])  # so one point a pass
    if reserving.calls == 30:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (taken + 1_500_000_000, most))
    torch.empty(len(outputs), 50_000_000, dtype=torch.uint8)
    return outputs[:, 0]


reserving.calls = 0


def vast(rank):
    """Takes 8 GB on a rank, which may have 2 GB more than it has."""
    import os, resource
    if int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0"))) == rank:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (taken + 2_000_000_000, most))
        torch.ones(1_000_000_000, dtype=torch.float64)
    return data()


def lingering(outputs, targets):
    """After some points a second a batch, as long as the file `lingering` lies beside this one."""
    import time
    lingering.calls += 1
    if lingering.calls > 400 and (HERE / "lingering").exists():
        time.sleep(1)
    float(outputs[0, 0])  # so one point a pass
    return outputs.square().mean(dim=1)


lingering.calls = 0


def leisurely(outputs, targets):
    """Takes 20 ms a batch as long as the file `slowly` lies beside this one."""
    import time
    time.sleep(0.02 if (HERE / "slowly").exists() else 0)
    float(outputs[0, 0])  # so one point a pass
    return outputs.square().mean(dim=1)


def slow(outputs, targets):
    import time
    time.sleep(0.02)
    float(outputs[0, 0])  # so one point a pass
    return outputs.square().mean(dim=1)
'''


def toy_job(folder: Path, **changes: Any) -> Path:
    """Write the job and its code into a folder; `changes` replace top-level keys."""
    (folder / "toy.py").write_text(USER_CODE)
    job = {
        "output": "out/toy.vtkhdf",
        "model": {"factory": "toy.py:model"},
        "data": {"train": {"factory": "toy.py:data"}},
        "grid": {
            "alpha": {"min": -1, "max": 1, "points": 7},
            "beta": {"min": -1, "max": 1, "points": 5},
        },
    }
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(job | changes))
    return path

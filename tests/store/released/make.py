"""Make the results files that later versions must read, with numbers that lossgrid did not compute.

    python -m tests.store.released.make        # from the project's folder, at each release

A folder a version: results files, packed, and `expected.json` with what plain torch finds in
float64 at some places of each. Files of a version are made once and never again.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

import lossgrid
from lossgrid.exits import COMPLETE, SOME_FAILED
from lossgrid.run.steps import run
from tests.reference import direction

HERE = Path(__file__).resolve().parent
CODE = """
import torch
from torch import nn


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def samples(count, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    return inputs, inputs.argmax(dim=1).clamp(max=2)


def touchy(outputs, targets):
    if outputs[:, 0].mean() > 0.3:
        raise ValueError("too far out")
    return outputs[:, 0]
"""
TEST = {"factory": "code.py:samples", "kwargs": {"count": 60, "seed": 2}}
MANY = {"factory": "code.py:samples", "kwargs": {"count": 600, "seed": 3}}
FILTER = {"kind": "random", "seed": 5}


def axes(nx: int, ny: int | None, reach: float = 1.0) -> dict[str, Any]:
    """A grid; its axes differ, so that none can be taken for the other."""
    grid = {"alpha": {"min": -reach, "max": reach, "points": nx}}
    return grid | ({"beta": {"min": -0.5 * reach, "max": reach, "points": ny}} if ny else {})


JOBS: dict[str, dict[str, Any]] = {
    "plane": {"grid": axes(5, 4), "metrics": ["loss", "accuracy", "code.py:touchy"]},
    "line": {
        "data": {"test": TEST | {"samples": 40, "seed": 1}},
        "directions": FILTER | {"draws": 3},
        "grid": axes(9, None),
    },
    "estimated": {
        "data": {"test": MANY},
        "grid": axes(9, 5),
        "evaluation": {"tolerance": 0.1},
    },
    "refined": {"grid": axes(17, 9) | {"refine": 0.05}},
    "rounded": {"grid": axes(300, None), "evaluation": {"precision": "bfloat16"}},
    "curved": {
        "grid": axes(3, 2) | {"beta": {"min": 0, "max": 1, "points": 2}},
        "curvature": {
            "gradient": {},
            "eigenvalues": {"tolerance": 1e-4, "iterations": 200},
            "trace": {"probes": 200},
            "spectrum": {"points": [[0, 0]], "probes": 3, "iterations": 20},
            "hooks": {},
        },
    },
    "trajectory": {
        "directions": {"kind": "pca", "checkpoints": "sgd/epoch-*.pt"},
        "trajectories": {"adam": {"checkpoints": "adam/epoch-*.pt"}},
        "grid": axes(7, 5, 6.0),
    },
}


def main() -> None:
    """Make those of the version at hand."""
    folder = HERE / lossgrid.__version__
    folder.mkdir()  # there already: a version is released once
    with tempfile.TemporaryDirectory() as home:
        namespace = prepared(Path(home))
        expected = {name: _made(name, Path(home), folder, namespace) for name in JOBS}
    lines = [f"{json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in expected.items()]
    (folder / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def prepared(home: Path) -> dict[str, Callable[..., Any]]:
    """Write code and checkpoints of a training run; returns what the code defines."""
    (home / "code.py").write_text(CODE)
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    inputs, targets = namespace["samples"](60, 2)
    for name, rate in (("sgd", 0.5), ("adam", 0.05)):
        torch.manual_seed(4)
        network = namespace["network"]()
        kind = torch.optim.SGD if name == "sgd" else torch.optim.Adam
        optimizer = kind(network.parameters(), lr=rate)
        (home / name).mkdir()
        for epoch in range(6):
            state = {"state_dict": network.state_dict(), "epoch": epoch, "lr": rate}
            torch.save(state, home / name / f"epoch-{epoch}.pt")
            for _ in range(20):
                optimizer.zero_grad()
                F.cross_entropy(network(inputs), targets).backward()
                optimizer.step()
    return namespace


def _made(name: str, home: Path, folder: Path, namespace: dict[str, Any]) -> dict[str, Any]:
    """Compute a job's results and keep them; returns what should be found in them."""
    job = {
        "name": name,
        "model": {"factory": "code.py:network", "checkpoint": "sgd/epoch-5.pt"},
        "data": {"test": TEST},
        "directions": FILTER,
    } | JOBS[name]
    (home / f"{name}.yaml").write_text(yaml.safe_dump(job))
    status = run(home / f"{name}.yaml")
    if status not in (COMPLETE, SOME_FAILED):
        sys.exit(f"{name} ended with {status}")
    path = home / "out" / f"{name}.vtkhdf"
    with (folder / f"{path.name}.gz").open("wb") as file:
        file.write(gzip.compress(path.read_bytes(), mtime=0))
    return expectation(lossgrid.open(path), job, home, namespace)


def expectation(
    surface: lossgrid.Surface, job: dict[str, Any], home: Path, namespace: dict[str, Any]
) -> dict[str, Any]:
    """Where points lie and what is found at up to 24 of them, in float64 by torch alone."""
    weights = read(home / "sgd" / "epoch-5.pt")
    samples = chosen_samples(job["data"]["test"], namespace)
    seed = job["directions"].get("seed")
    x, y = (
        components(home, weights)
        if seed is None
        else (direction(weights, seed, axis) for axis in "xy")
    )
    alpha, beta = np.meshgrid(surface.alpha, [0.0] if surface.beta is None else surface.beta)
    points = np.linspace(0, alpha.size - 1, min(alpha.size, 24)).astype(int).tolist()
    places = [(alpha.flat[point], beta.flat[point]) for point in points]
    moved = [
        {name: t + (a * x[name] + b * y[name] if name in x else 0) for name, t in weights.items()}
        for a, b in places
    ]
    losses, accuracies = zip(*(measured(one, *samples) for one in moved), strict=True)
    refusing = "code.py:touchy" in job.get("metrics", [])
    far = [bool(outputs(one, samples[0])[:, 0].mean() > 0.3) and refusing for one in moved]
    suffix = "_d0" if "draws" in job["directions"] else ""
    found = {
        "alpha": surface.alpha.tolist(),
        "beta": None if surface.beta is None else surface.beta.tolist(),
        "points": points,
        "values": {f"test_loss{suffix}": losses, f"test_accuracy{suffix}": accuracies},
        "failed": [point for point, fails in zip(points, far, strict=True) if fails],
    }
    if "trajectories" in job:
        files = [home / "adam" / f"epoch-{epoch}.pt" for epoch in range(6)]
        found["adam"] = [measured(read(file), *samples)[0] for file in files]
    if "curvature" in job:
        hessian = exact_hessian(weights, *samples)
        found["trace"] = float(hessian.trace())
        found["eigenvalues"] = torch.linalg.eigvalsh(hessian)[[0, -1]].tolist()
    return found


def chosen_samples(data: dict[str, Any], namespace: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Those of a split of a job, or the part of them that it asks for."""
    inputs, targets = namespace["samples"](**data["kwargs"])
    generator = np.random.Generator(np.random.Philox(data.get("seed", 0)))
    chosen = generator.permutation(len(inputs))[: data["samples"]] if "samples" in data else ...
    return inputs[chosen], targets[chosen]


def read(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, in float64."""
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name: tensor.double() for name, tensor in state.items()}


def outputs(weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """The network's, by its definition."""
    hidden = torch.tanh(inputs.double() @ weights["0.weight"].T + weights["0.bias"])
    return hidden @ weights["2.weight"].T + weights["2.bias"]


def measured(weights: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy."""
    found = outputs(weights, inputs)
    hits = (found.argmax(dim=1) == targets).double().mean()
    return float(F.cross_entropy(found, targets)), float(hits)


def components(home: Path, weights: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The first two principal components of the training run, as docs/trajectories.md has them."""
    states = [read(home / "sgd" / f"epoch-{epoch}.pt") for epoch in range(6)]
    rows = torch.stack([torch.cat([t.ravel() for t in state.values()]) for state in states])
    centred = (rows[:-1] - rows[-1]) - (rows[:-1] - rows[-1]).mean(dim=0)
    found = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    along = centred @ found.T
    signs = along.gather(0, along.abs().argmax(dim=0, keepdim=True)).sign().T
    sizes = [tensor.numel() for tensor in weights.values()]
    return [
        {
            name: part.view(weights[name].shape)
            for name, part in zip(weights, flat.split(sizes), strict=True)
        }
        for flat in found * signs
    ]


def exact_hessian(weights: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """Of the loss by all parameters, at theta."""
    sizes = [tensor.numel() for tensor in weights.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = zip(weights.items(), flat.split(sizes), strict=True)
        return F.cross_entropy(
            outputs({n: p.view(t.shape) for (n, t), p in parts}, inputs), targets
        )

    flat = torch.cat([tensor.ravel() for tensor in weights.values()])
    found = torch.autograd.functional.hessian(loss, flat)
    assert isinstance(found, Tensor)
    return found


if __name__ == "__main__":
    main()

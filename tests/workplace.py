"""A folder in which the commands of README and docs run, on inputs so small that they are quick.

It has the project's own jobs, with few points, epochs and samples, and makes what a command names
and is not there: checkpoints, data, results, folders of training runs.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Mapping, Sequence
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from lossgrid import models
from lossgrid.cli import commands
from lossgrid.data.cifar import TEST_BATCHES, TRAIN_BATCHES
from tests.mpi import ROOT
from tests.pages import blocks
from tests.test_reference_files import surface_file

IMAGES = 2
"""In each file of made-up images."""

MADE = (".vtkhdf", ".pt", ".th", ".t7")
"""Suffixes of files that are made where a command names them."""


class Workplace:
    """The folder; the current one while it is used.

    Args:
        folder: empty.
        job: sections of the job file that the page speaks of, `job.yaml`, above the README's.
        results: a results file, of a plane with a training run `adam`, to be copied.
        training: the folder of a training run, likewise.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], results: Path, training: Path) -> None:
        self._results = results
        self._training = training
        _write_images(folder)
        for path in sorted((ROOT / "jobs").rglob("*.yaml")):
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(yaml.safe_dump(small(yaml.safe_load(path.read_text()))))
        self._job = small(readme_job() | job)
        self._own = self._job.get("name", "job") if job else ""
        (file,) = (b for b in blocks(ROOT / "docs" / "training.md") if b.language == "yaml")
        (folder / "train.yaml").write_text(
            yaml.safe_dump(small(yaml.safe_load(file.text.replace("../", ""))))
        )

    def run(self, words: Sequence[str]) -> Any:
        """Run a command of lossgrid; returns its exit status."""
        command, *arguments = words
        if command == "init":
            Path("job.yaml").unlink(missing_ok=True)
            Path("mymodel.py").unlink(missing_ok=True)
        else:
            runs = {"trajectories": {"run": {"checkpoints": "run/epoch-*.pt"}}}
            beside = runs if command == "trajectory" else {}
            Path("job.yaml").write_text(yaml.safe_dump(beside | self._job))
            Path("mymodel.py").write_text(user_code())
        for word in arguments:
            self.provide(word)
        if command in ("run", "plan", "trajectory"):
            self._provide_checkpoints(arguments)
        found = [name for word in arguments for name in sorted(glob(word)) or [word]]
        return commands.main([command, *found, *_limits(command, found)], standalone_mode=False)

    def provide(self, word: str) -> None:
        """Make the file or folder that a word names, if it names one and it is not there."""
        path = Path(word.replace("*", "job"))
        is_run = word.startswith("out/") and not path.suffix
        if "=" in word or glob(f"{word}/metrics.csv" if is_run else word):
            return
        if path.parts[:1] not in ((path.name,), ("out",)):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        own = Path("job.yaml" if path.stem == self._own else f"jobs/{path.stem}.yaml")
        if path.suffix == ".vtkhdf" and (path.stem == self._own or own.exists()):
            self.run(["run", str(own)])
        elif path.suffix == ".vtkhdf":
            shutil.copy(self._results, path)
        elif path.suffix in MADE:
            _save_weights(path, {"factory": _network_of(path.stem)})
        elif path.suffix == ".h5":
            surface_file(path, 4, 4)
        elif is_run:
            shutil.copytree(self._training, path, dirs_exist_ok=True)

    def _provide_checkpoints(self, arguments: Sequence[str]) -> None:
        """Of the job that a command names, as its options change it."""
        path = Path(arguments[0])
        changes = [b for a, b in pairwise(arguments) if a == "--set"]
        job = changed(yaml.safe_load(path.read_text()), changes)
        runs = [job.get("directions", {}), *job.get("trajectories", {}).values()]
        for run in [{"checkpoints": job["model"]["checkpoint"]}, *runs]:
            count = len(run.get("learning_rates", range(5)))
            for file in _checkpoints(run, count):
                if not (path.parent / file).exists():
                    _save_weights(path.parent / file, job["model"])


def _limits(command: str, words: Sequence[str]) -> list[str]:
    """Options, of which the last counts, that make a command small."""
    if command == "train":
        return ["--set", f"epochs={2 if any(w.startswith('epochs=') for w in words) else 1}"]
    if command == "render":
        film = ["--frames", "2"] if "--turntable" in words else []
        return ["--size", "160x120", *film]
    given = {word.partition("=")[0] for word in words}
    known = {"data.train.samples": "null", "grid.alpha.points": "3", "grid.beta.points": "3"}
    return [part for key in given & known.keys() for part in ("--set", f"{key}={known[key]}")]


def _network_of(name: str) -> str:
    """Whose weights a file of this name has."""
    found = [known for known in models.__all__ if known.partition("_")[0] in name]
    return max(found, key=len, default="mymodel.py:build")


def readme_job() -> dict[str, Any]:
    """The job file that the README begins with, with a second split."""
    (first,) = (block for block in blocks(ROOT / "README.md") if block.language == "yaml")
    job: dict[str, Any] = yaml.safe_load(first.text)
    job["data"]["train"] = job["data"]["test"]
    return job


def user_code() -> str:
    """What docs/jobs.md has for `mymodel.py`."""
    codes = [block for block in blocks(ROOT / "docs" / "jobs.md") if block.language == "python"]
    return codes[0].text


def _defined(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def small(job: dict[str, Any]) -> dict[str, Any]:
    """A job or training file with at most 3 points along an axis, one epoch, few iterations."""
    for axis in job.get("grid", {}).values():
        if isinstance(axis, dict):
            axis["points"] = min(axis["points"], 3)
    for split in job["data"].values():
        split.pop("samples", None)
    job["model"].pop("expect", None)
    if "epochs" in job:
        job["epochs"] = 1
    else:  # to record a network and to check that costs more than these points
        job.setdefault("evaluation", {}).setdefault("network", "plain")
    if "draws" in job.get("directions", {}):
        job["directions"]["draws"] = 2
    for settings in (job.get("curvature") or {}).values():
        for name in {"iterations", "probes"}.intersection(settings):
            settings[name] = 2
    return job


def changed(job: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A job as options --set change it."""
    for change in changes:
        key, _, value = change.partition("=")
        *sections, last = key.split(".")
        section = job
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = yaml.safe_load(value)
    return job


def _checkpoints(run: Mapping[str, Any], count: int) -> list[str]:
    """The files that a section lists; for a pattern so many that it matches."""
    listed = run.get("checkpoints", [])
    return [
        name.replace("*", str(epoch))
        for name in ([listed] if isinstance(listed, str) else listed)
        for epoch in (range(count) if "*" in name else [0])
    ]


def _save_weights(path: Path, model: Mapping[str, Any]) -> None:
    """Made-up weights of a job's model, others in each file."""
    name = model["factory"].rpartition(":")[2]
    known = getattr(models, name, None) or _defined(user_code())[name]
    torch.manual_seed(int(hashlib.sha256(str(path).encode()).hexdigest()[:8], 16))
    state = known(**model.get("kwargs", {})).state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.mul_(0.7 + 0.1 * torch.rand(tensor.shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state} if path.stem.startswith("epoch") else state, path)


def _write_images(folder: Path) -> None:
    """CIFAR-10 as it is published, and what docs/paper.md makes of it."""
    random = np.random.default_rng(0)
    home = folder / "data" / "cifar-10-batches-py"
    home.mkdir(parents=True)
    for name in (*TRAIN_BATCHES, *TEST_BATCHES):
        pixels = random.integers(0, 256, (IMAGES, 3072), dtype=np.uint8)
        labels = random.integers(0, 10, IMAGES).tolist()
        (home / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}, protocol=4))
    arrays = {
        f"{split}_{name}": random.integers(0, most, shape, dtype=np.uint8)
        for split in ("train", "test")
        for name, most, shape in (("images", 256, (IMAGES, 3, 32, 32)), ("labels", 10, IMAGES))
    }
    np.savez(folder / "data" / "cifar10-small.npz", **arrays)
    np.savez(folder / "mine.npz", **arrays)

"""The files of jobs/: each is read, and those of the paper hold its settings."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lossgrid.data import npz
from lossgrid.data.cifar import TEST_BATCHES, TRAIN_BATCHES
from lossgrid.exits import COMPLETE
from lossgrid.job import Job, Training, read_job, read_training
from lossgrid.models import vgg9
from lossgrid.problem import save_checkpoint
from lossgrid.problem.factory import call
from lossgrid.problem.problem import make_model
from lossgrid.run.steps import run
from lossgrid.store.results import read_results
from tests.data.test_cifar import python2_pickle

ROOT = Path(__file__).resolve().parent.parent
PAPER = ROOT / "jobs" / "paper"
FILES = sorted((ROOT / "jobs").rglob("*.yaml"))
PAGE = (ROOT / "docs" / "paper.md").read_text()
GALLERY = (ROOT / "docs" / "gallery.md").read_text()


def read(file: Path) -> Job | Training:
    return read_training(file) if file.stem.endswith("train") else read_job(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_is_read_and_writes_below_out(file: Path) -> None:
    settings = read(file)
    assert settings.output.is_relative_to(ROOT / "out")
    make_model(settings.model, settings.folder)


def test_the_training_is_that_of_the_paper() -> None:
    training = read_training(PAPER / "train.yaml")
    rates = {epoch: training.learning_rate(epoch) for epoch in (1, 150, 151, 225, 226, 275, 276)}
    assert rates == pytest.approx(
        {1: 0.1, 150: 0.1, 151: 0.01, 225: 0.01, 226: 1e-3, 275: 1e-3, 276: 1e-4}
    )
    assert (training.epochs, training.every, training.batch_size) == (300, 1, 128)
    assert training.optimizer.model_dump() == {
        "kind": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
    }
    assert training.augmentation.model_dump() == {"crop": 4, "flip": True}
    assert training.data.train.samples is None


def test_jobs_and_their_trainings_agree() -> None:
    for folder in (PAPER, PAPER / "small"):
        training = read_training(folder / "train.yaml")
        for file in folder.glob("*.yaml"):
            if file.stem in ("train", "published", "curvature"):
                continue
            job = read_job(file)
            trained = training.data.model_dump()
            for name, spec in job.data.items():
                samples = None if folder == PAPER else spec.samples
                assert spec.model_dump() == {**trained[name], "samples": samples}, file
            assert folder != PAPER or set(job.data) == set(trained), file
            assert job.model.checkpoint is not None
            assert job.model.checkpoint.name == f"epoch-{training.epochs}.pt", file
            assert job.model.checkpoint.parent.parent == training.output.parent, file


def rows_of_networks() -> list[list[str]]:
    """What the page's table says to set for each network."""
    _, _, table = PAGE.partition("| network | `--set` |")
    rows = table.partition("\n\n")[0].splitlines()[2:]
    return [[quoted.strip("'") for quoted in re.findall(r"`([^`]+)`", row)] for row in rows]


@pytest.mark.parametrize("overrides", rows_of_networks(), ids=" ".join)
def test_what_the_page_sets_for_each_network_is_read(overrides: list[str]) -> None:
    training = read_training(PAPER / "train.yaml", overrides)
    call("model.factory", training.model.factory, ROOT, 0, **training.model.kwargs)


def test_every_file_of_the_paper_is_on_the_page() -> None:
    assert len(rows_of_networks()) == 10
    for file in PAPER.glob("*.yaml"):
        assert f"`{file.name}`" in PAGE
    for file in (PAPER / "small").glob("*.yaml"):
        assert f"jobs/paper/small/{file.name}" in PAGE + GALLERY
    for number in range(1, 16):
        assert re.search(rf"Figures?[^|\n]*\b{number}\b", PAGE), number


def code_with(words: str) -> str:
    """The page's block of Python that has these words."""
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if words in c)
    return str(code)


def test_the_page_makes_the_small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thousand images of each file, as the jobs read them."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    files: dict[str, list[int]] = {"train": [], "test": []}
    for number, name in enumerate([*TRAIN_BATCHES, *TEST_BATCHES]):
        images = np.full((1002, 3, 32, 32), number, np.uint8)
        (folder / name).write_bytes(python2_pickle(images, [number] * 1000 + [9] * 2))
        files["test" if name in TEST_BATCHES else "train"] += [number] * 1000
    monkeypatch.chdir(tmp_path)
    exec(code_with("cifar10-small"), {})
    training = read_training(PAPER / "small" / "train.yaml")
    for split, expected in files.items():
        spec = training.data.model_dump()[split]
        data = npz(**{**spec["kwargs"], "path": "data/cifar10-small.npz"})
        assert data.inputs.shape == (len(expected), 3, 32, 32)
        assert data.inputs[:, 2, 31, 0].tolist() == data.targets.tolist() == expected


@pytest.fixture
def solutions(tmp_path: Path) -> dict[str, Path]:
    """Networks in the place of trained ones, by the runs that the jobs name, and a little data."""
    made = {}
    for number, name in enumerate(("first", "small", "large", "adam")):
        torch.manual_seed(number)
        made[name] = tmp_path / f"{name}.pt"
        save_checkpoint({"epoch": number, "state_dict": vgg9().state_dict()}, made[name])
    generator = np.random.default_rng(0)
    images = generator.standard_normal((8, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "few.npz", images=images, labels=generator.integers(0, 10, 8))
    return made


def settings(folder: Path, files: dict[str, str]) -> list[str]:
    """What lets a job of the paper run on those: few images, few points."""
    kwargs = f"{{path: {folder}/few.npz, images: images, labels: labels}}"
    few = [f"grid.{axis}.points=3" for axis in ("alpha", "beta")]
    return [
        f"output={folder}/out.vtkhdf",
        f"data={{train: {{factory: lossgrid.data:npz, kwargs: {kwargs}}}}}",
        *few,
        *(f"{key}={value}" for key, value in files.items()),
    ]


def test_the_plane_through_three_solutions(solutions: dict[str, Path], tmp_path: Path) -> None:
    """It meets each where the job says, with the solution's own loss."""
    names = {"batch_128": "small", "batch_8192": "large", "adam": "adam"}
    files = {
        "model.checkpoint": solutions["small"],
        "directions.checkpoints": f"[{solutions['large']}, {solutions['adam']}]",
        **{f"trajectories.{run}.checkpoints": solutions[name] for run, name in names.items()},
        "evaluation.batch_size": 4,
        "evaluation.batchnorm.batches": 2,
    }
    assert run(PAPER / "three.yaml", settings(tmp_path, files)) == COMPLETE
    found = read_results(tmp_path / "out.vtkhdf")
    assert found.beta is not None
    corners = {"batch_128": (0, 0), "batch_8192": (1, 0), "adam": (0, 1)}
    for name, (alpha, beta) in corners.items():
        one = found.trajectories[name]
        assert one.beta is not None
        assert (one.alpha[0], one.beta[0]) == pytest.approx((alpha, beta), abs=1e-5)
        assert np.isfinite(one.values["train_loss"]).all()


def test_the_line_from_last_to_first(solutions: dict[str, Path], tmp_path: Path) -> None:
    """Along alpha the run's first weights lie at 1, and its random axis is as long as theta."""
    files = {
        "model.checkpoint": solutions["small"],
        "directions.checkpoints": f"[{solutions['first']}]",
        "trajectories.training.checkpoints": f"[{solutions['first']}, {solutions['small']}]",
    }
    assert run(PAPER / "trajectory-line.yaml", settings(tmp_path, files)) == COMPLETE
    found = read_results(tmp_path / "out.vtkhdf")
    one = found.trajectories["training"]
    np.testing.assert_allclose(one.alpha, [1, 0], atol=1e-4)
    np.testing.assert_allclose(one.beta, [0, 0], atol=1e-4)
    with h5py.File(found.path) as file:
        facts = file["lossgrid/directions"].attrs
        assert facts["norm_y"] == pytest.approx(facts["norm_theta"], rel=1e-5)

"""Jobs whose BatchNorm layers use other statistics than the checkpoint's; errors of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from lossgrid import exits
from lossgrid.errors import UserError
from lossgrid.job import read_job
from lossgrid.problem import load_problem
from lossgrid.run.steps import run
from tests.mpi import MPICH_WHEEL, mpirun
from tests.runs import plane, results
from tests.toy import toy_job

NORMED = """

def normed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
"""


def normed_job(folder: Path, **batchnorm: Any) -> Path:
    job = toy_job(
        folder,
        model={"factory": "toy.py:normed"},
        evaluation={"batch_size": 10, "batchnorm": batchnorm},
    )
    code = folder / "toy.py"
    code.write_text(code.read_text() + NORMED)
    return job


@pytest.mark.parametrize("batchnorm", [{"mode": "recompute", "batches": 2}, {"mode": "train"}])
def test_any_number_of_ranks_has_the_same_bits(batchnorm: dict[str, Any], tmp_path: Path) -> None:
    job = normed_job(tmp_path, **batchnorm)
    assert run(job) == exits.COMPLETE
    alone = results(tmp_path).values["train_loss"]
    args = ["-m", "lossgrid", "run", job, "--overwrite"]
    done = mpirun(MPICH_WHEEL, 3, args, timeout=120)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path).values["train_loss"].tobytes() == alone.tobytes()
    args += ["--set", "evaluation.batchnorm={mode: eval}"]
    assert mpirun(MPICH_WHEEL, 2, args, timeout=120).returncode == 0
    assert np.abs(results(tmp_path).values["train_loss"] - alone).max() > 0.01


def test_other_statistics_make_another_job(tmp_path: Path) -> None:
    job = normed_job(tmp_path, mode="train")
    assert run(job) == exits.COMPLETE
    with pytest.raises(UserError, match="batchnorm"):
        run(job, ["evaluation.batchnorm={mode: recompute, batches: 2}"])


def sampled_job(folder: Path, samples: int, **evaluation: Any) -> Path:
    data = {"train": {"factory": "toy.py:data", "kwargs": {"samples": 1000}, "samples": samples}}
    return toy_job(folder, data=data, grid=plane(9, 5), evaluation=evaluation)


def test_samples_have_an_error(tmp_path: Path) -> None:
    job = sampled_job(tmp_path, 400)
    assert run(job) == exits.COMPLETE
    values = results(tmp_path).values
    assert sorted(values) == ["train_accuracy", "train_loss", "train_loss_se_data"]
    problem = load_problem(read_job(job, []))
    split = problem.splits["train"]
    losses = problem.loss(problem.build_model()(split.inputs), split.targets)
    wanted = scipy.stats.sem(losses.detach().numpy())
    assert values["train_loss_se_data"][2, 4] == pytest.approx(wanted, rel=1e-5)


def test_more_samples_have_less_of_it(tmp_path: Path) -> None:
    found = []
    for samples in (100, 900):
        folder = tmp_path / str(samples)
        folder.mkdir()
        assert run(sampled_job(folder, samples)) == exits.COMPLETE
        found.append(results(folder).values["train_loss_se_data"])
    assert np.median(found[0] / found[1]) == pytest.approx(3, rel=0.15)


def test_a_tolerance_estimates_it(tmp_path: Path) -> None:
    job = sampled_job(tmp_path, 800, tolerance=0.05, batch_size=50)
    assert run(job) == exits.COMPLETE
    values = results(tmp_path).values
    assert (values["train_samples"] < 800).any()
    assert run(job, ["evaluation.tolerance=null"], overwrite=True) == exits.COMPLETE
    truth = results(tmp_path).values["train_loss_se_data"]
    assert values["train_loss_se_data"] == pytest.approx(truth, rel=0.3)


def test_checkpoints_of_a_trajectory_have_it_too(tmp_path: Path) -> None:
    job = sampled_job(tmp_path, 400)
    model = load_problem(read_job(job, [])).build_model()
    torch.save(model.state_dict(), tmp_path / "epoch-1.pt")
    overrides = ["trajectories={sgd: {checkpoints: epoch-1.pt}}"]
    assert run(job, overrides) == exits.COMPLETE
    found = results(tmp_path)
    (there,) = found.trajectories["sgd"].values["train_loss_se_data"]
    assert there == pytest.approx(found.values["train_loss_se_data"][2, 4])

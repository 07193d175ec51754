"""Jobs that go lattice by lattice, under a tolerance or with refinement."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED, PENDING
from lossgrid.exits import COMPLETE, SOME_FAILED
from lossgrid.lattice import level_of
from lossgrid.run.steps import run
from lossgrid.store.log import RunLog
from lossgrid.store.samples import samples_path
from tests.mpi import MPICH_WHEEL, Flavour, mpirun, started
from tests.runs import (
    await_points,
    plane,
    program,
    rank_processes,
    results,
    stacked,
)
from tests.toy import toy_job


def sampled_job(folder: Path, **changes: Any) -> Path:
    """A job with a tolerance, of which most points use a part of the samples."""
    data = {"train": {"factory": "toy.py:data", "kwargs": {"samples": 1000}}}
    evaluation = {"tolerance": 0.03, "batch_size": 50}
    return toy_job(folder, data=data, grid=plane(17, 13), evaluation=evaluation, **changes)


def test_a_tolerance_saves_samples_and_is_kept(tmp_path: Path) -> None:
    assert run(sampled_job(tmp_path)) == COMPLETE
    values = results(tmp_path).values
    loss, error, used = (values[f"train_{n}"] for n in ("loss", "loss_sem", "samples"))
    assert run(sampled_job(tmp_path), ["evaluation.tolerance=null"], overwrite=True) == COMPLETE
    truth = results(tmp_path).values["train_loss"]
    assert used.mean() < 500
    ny, nx = used.shape
    coarsest = [point for point in range(used.size) if level_of(ny, nx, point) == 0]
    assert (used.ravel()[coarsest] == 1000).all()  # else all points alike may miss rare samples
    assert (used == 1000).any()
    assert (error[used == 1000] == 0).all()
    assert loss[used == 1000] == pytest.approx(truth[used == 1000], rel=1e-6)
    assert (error <= 0.03 * (loss + 0.01)).all()
    assert (np.abs(loss - truth) <= 2 * error + 1e-6).mean() > 0.9
    assert (np.abs(loss - truth) <= 5 * error + 1e-6).all()
    accuracy = values["train_accuracy"]
    assert ((accuracy >= -0.1) & (accuracy <= 1.1)).all()


def test_estimates_have_the_same_bits_on_any_ranks(flavour: Flavour, tmp_path: Path) -> None:
    job = sampled_job(tmp_path)
    run(job)
    alone = stacked(results(tmp_path))
    for ranks in (2, 3):
        args = ["-m", "lossgrid", "run", job, "--overwrite"]
        done = mpirun(flavour, ranks, args, timeout=120)
        assert done.returncode == 0, done.stderr
        assert stacked(results(tmp_path)) == alone
    left = [path.name for path in (tmp_path / "out").iterdir() if ".samples" in path.name]
    assert left == []


@pytest.mark.parametrize("lost", [False, True])
def test_estimates_go_on_after_a_kill(lost: bool, tmp_path: Path) -> None:
    """Whether the per-sample values of coarser lattices have survived or not."""
    job = sampled_job(tmp_path, metrics=["loss", "toy.py:tardy"])
    run(job)
    alone = stacked(results(tmp_path))
    args = ["-m", "lossgrid", "run", job, "--overwrite"]
    (tmp_path / "out" / "toy.vtkhdf").unlink()
    with started(MPICH_WHEEL, 2, args) as launcher:
        await_points(tmp_path, 80)  # of the finest lattice but one
        os.kill(rank_processes(job)[1], signal.SIGKILL)
        launcher.communicate(timeout=60)
    assert results(tmp_path).count(PENDING) > 0
    if lost:
        samples_path(tmp_path / "out" / "toy.vtkhdf").unlink()
    assert run(job) == COMPLETE
    assert stacked(results(tmp_path)) == alone


def test_points_whose_parents_fail_are_estimated_without_them(tmp_path: Path) -> None:
    job = sampled_job(tmp_path, metrics=["loss", "toy.py:touchy"])
    (tmp_path / "broken").touch()
    assert run(job) == SOME_FAILED
    found = results(tmp_path)
    failed = found.status == FAILED
    assert failed.any()
    assert np.isfinite(found.values["train_loss"][~failed]).all()
    (tmp_path / "broken").unlink()
    assert run(job) == COMPLETE


@pytest.mark.parametrize("ranks", [1, 3])
def test_smooth_parts_are_interpolated(ranks: int, flavour: Flavour, tmp_path: Path) -> None:
    fine = plane(33, 25)
    job = toy_job(tmp_path, grid=fine)
    run(job)
    truth = results(tmp_path).values["train_loss"]
    args = ["-m", "lossgrid", "run", job, "--overwrite", "--set", "grid.refine=0.01"]
    args += ["--set", "metrics=[loss]"]
    done = mpirun(flavour, ranks, args, timeout=120)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    guessed = found.status == INTERPOLATED
    assert f"{guessed.sum()} of {truth.size} points interpolated" in done.stderr
    assert 0.2 < guessed.mean() < 0.95
    assert ((found.status == DONE) | guessed).all()
    loss = found.values["train_loss"]
    assert np.array_equal(loss[~guessed], truth[~guessed])
    assert (loss != truth)[guessed].any()
    assert (np.abs(loss - truth) <= 0.01 * (truth + 0.01)).all()
    if ranks > 1:  # once more from where a kill could have left it
        with h5py.File(found.path, "r+") as file:
            status = file["lossgrid/status"][...]
            status[1::2] = PENDING
            file["lossgrid/status"][...] = status
            file["lossgrid"].attrs.modify("complete", np.uint8(0))
        again = ["-m", "lossgrid", "run", job, "--set", "grid.refine=0.01"]
        again += ["--set", "metrics=[loss]"]
        assert mpirun(flavour, ranks, again, timeout=120).returncode == 0
        assert np.array_equal(results(tmp_path).values["train_loss"], loss)
        assert np.array_equal(results(tmp_path).status == INTERPOLATED, guessed)


def test_the_samples_of_coarser_lattices_are_used_after_a_kill(tmp_path: Path) -> None:
    """What is done is not computed again as long as the file of samples is there."""
    job = sampled_job(tmp_path, metrics=["loss", "toy.py:tardy"])
    with started(MPICH_WHEEL, 2, ["-m", "lossgrid", "run", job]) as launcher:
        await_points(tmp_path, 80)
        os.kill(rank_processes(job)[1], signal.SIGKILL)
        launcher.communicate(timeout=60)
    stored = results(tmp_path).status == DONE
    assert run(job) == COMPLETE
    with h5py.File(results(tmp_path).path) as file:
        assert (file["lossgrid/points/attempt"][...][stored] == 1).all()


def test_points_computed_again_for_their_samples_count_as_work(tmp_path: Path) -> None:
    job = sampled_job(tmp_path)
    assert run(job) == COMPLETE
    with h5py.File(results(tmp_path).path, "r+") as file:
        status = file["lossgrid/status"][...]
        status[1, 1::2] = PENDING  # on the finest lattice
        file["lossgrid/status"][...] = status
        file["lossgrid"].attrs.modify("complete", np.uint8(0))
    tries, pending = results(tmp_path).tries(), int((status == PENDING).sum())
    before = len(list(RunLog(results(tmp_path).path).events()))
    assert run(job) == COMPLETE
    events = list(RunLog(results(tmp_path).path).events())[before:]
    again = results(tmp_path).tries() - tries - pending
    assert again > 20  # the file of samples went with the first run
    left = again + pending
    for start, end in zip(events[::2], events[1::2], strict=True):
        assert (start["left"], start["tries"]) == (left, tries)
        left, tries = left - end["stored"], tries + end["stored"]
    assert left == 0


def test_a_line_with_two_splits_is_estimated(tmp_path: Path) -> None:
    data = {
        "train": {"factory": "toy.py:data", "kwargs": {"samples": 1000}},
        "few": {"factory": "toy.py:data", "kwargs": {"samples": 30}},
    }
    grid = {"alpha": {"min": -1, "max": 1, "points": 33}}
    evaluation = {"tolerance": 0.03, "batch_size": 50, "precision": "float64"}
    assert run(toy_job(tmp_path, data=data, grid=grid, evaluation=evaluation)) == COMPLETE
    values = results(tmp_path).values
    assert (values["few_samples"] == 30).all()
    assert (values["few_loss_sem"] == 0).all()
    assert values["train_samples"].min() < 1000
    (tmp_path / "whole").mkdir()
    assert run(toy_job(tmp_path / "whole", data=data, grid=grid)) == COMPLETE
    truth = results(tmp_path / "whole").values
    assert values["few_loss"] == pytest.approx(truth["few_loss"], rel=1e-5)
    apart = np.abs(values["train_loss"] - truth["train_loss"])
    assert (apart <= 4 * values["train_loss_sem"] + 1e-5).all()


@pytest.mark.parametrize("refine", [None, 0.01])
def test_no_message_of_a_failure_is_lost_between_lattices(
    refine: float | None, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"metrics": ["loss", "toy.py:touchy"]}
    if refine is None:
        job = sampled_job(tmp_path, **settings)
    else:
        job = toy_job(tmp_path, grid=plane(33, 25) | {"refine": refine}, **settings)
    (tmp_path / "broken").touch()
    assert run(job) == SOME_FAILED
    found = results(tmp_path)
    assert len(found.errors()) == found.count(FAILED) > 10


def test_rank_0_failing_between_lattices_leaves_nobody_waiting(
    flavour: Flavour, tmp_path: Path
) -> None:
    job = toy_job(tmp_path, grid=plane(33, 25) | {"refine": 0.01})
    script = program(
        tmp_path,
        "from lossgrid.errors import UserError\n"
        "from lossgrid.store.writer import PointWriter\n"
        "def full(*_):\n"
        "    raise UserError('the disk is full')\n"
        "PointWriter.write_interpolated = full\n",
    )
    done = mpirun(flavour, 2, [script, "run", job], timeout=60)
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rank_that_can_not_keep_samples_ends_the_run(tmp_path: Path) -> None:
    job = sampled_job(tmp_path)
    script = program(
        tmp_path,
        "import os\n"
        "from lossgrid.errors import StorageError\n"
        "from lossgrid.store.samples import SampleFile\n"
        "def full(*_):\n"
        "    raise StorageError('the disk is full')\n"
        "if os.environ.get('PMI_RANK') == '1':\n"
        "    SampleFile.keep = full\n",
    )
    done = mpirun(MPICH_WHEEL, 2, [script, "run", job], timeout=60)
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert results(tmp_path).count(FAILED) == 0

"""Memory that proves too short during a run: it goes on by smaller plans, epoch by epoch."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lossgrid.commands.status import Status
from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED, PENDING
from lossgrid.errors import OutOfMemoryError, UserError
from lossgrid.evaluate import GridEvaluator
from lossgrid.exits import COMPLETE, SOME_FAILED
from lossgrid.run import epochs, precision
from lossgrid.run.lead import Lead
from lossgrid.run.prepare import Prepared
from lossgrid.run.steps import run
from lossgrid.store.layout import NO_EPOCH
from lossgrid.store.results import Results
from tests.mpi import MPICH_WHEEL, Flavour, mpirun
from tests.runs import plane, program, results
from tests.toy import toy_job

METRICS = ["loss", "toy.py:hungry"]
ENOUGH = "-1 0 1000"
GRID = plane(15, 15)
RUN = ["-m", "lossgrid", "run"]


def epochs_of(found: Results) -> np.ndarray[Any, Any]:
    with h5py.File(found.path) as file:
        return file["lossgrid/points/epoch"][...]  # type: ignore[no-any-return]


def hungry_job(folder: Path, limit: str, **changes: Any) -> Path:
    """A job that is out of memory: "rank calls most", see `hungry` in toy.py; rank -1 is each."""
    folder.mkdir(exist_ok=True)
    (folder / "limit").write_text(limit)
    return toy_job(folder, **{"metrics": METRICS, "grid": GRID, **changes})


def check_each_epoch(found: Results, folder: Path) -> None:
    """Every point has the bits of a run with the plan of its epoch alone."""
    assert (found.status == DONE).all()
    own = epochs_of(found)
    for number, plan in enumerate(epochs.plans(found)):
        sizes = {"batch_size": plan.batch_size, "points_per_pass": plan.points_per_pass}
        run(hungry_job(folder / f"alone{number}", ENOUGH, evaluation=sizes))
        alone = results(folder / f"alone{number}")
        for name, values in found.values.items():
            assert np.array_equal(values[own == number], alone.values[name][own == number])


def test_one_rank_goes_on_with_half_the_batch(tmp_path: Path) -> None:
    assert run(hungry_job(tmp_path, "-1 60 20")) == COMPLETE
    found = results(tmp_path)
    assert [plan.batch_size for plan in epochs.plans(found)] == [40, 20]
    counts = np.bincount(epochs_of(found).ravel(), minlength=2)
    assert counts.tolist() == found.count_epochs()[:2].tolist()
    assert counts.min() > 0
    check_each_epoch(found, tmp_path)
    said = Status.of(found.path).text()
    assert "2 plan epochs, since memory was short: " in said
    assert f"{counts[1]} points by fused network, batches of 20" in said


def test_memory_of_one_plan_is_free_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose, alive = Lead.choose_smaller, []

    def counted(*args: Any) -> Any:
        alive.append(sum(type(thing) is GridEvaluator for thing in gc.get_objects()))
        return choose(*args)

    monkeypatch.setattr(Lead, "choose_smaller", counted)
    gc.collect()
    before = sum(type(thing) is GridEvaluator for thing in gc.get_objects())
    assert run(hungry_job(tmp_path, "-1 60 20")) == COMPLETE
    assert alive == [before]


def test_a_file_with_one_plan_says_nothing_of_epochs(tmp_path: Path) -> None:
    run(toy_job(tmp_path))
    assert (epochs_of(results(tmp_path)) == 0).all()
    assert "epoch" not in Status.of(results(tmp_path).path).text()


@pytest.mark.parametrize("settings", [[], ["runtime.coordinator=dedicated"]])
def test_any_rank_may_lack_memory(flavour: Flavour, settings: list[str], tmp_path: Path) -> None:
    job = hungry_job(tmp_path, "1 3 20")
    sets = [word for setting in settings for word in ("--set", setting)]
    done = mpirun(flavour, 3, [*RUN, job, *sets], timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    assert ("parallel HDF5" in done.stderr) == flavour.parallel
    assert "rank 1: out of memory: OutOfMemoryError: CUDA out of memory" in done.stderr
    found = results(tmp_path)
    assert [plan.batch_size for plan in epochs.plans(found)] == [40, 20]
    check_each_epoch(found, tmp_path)


def test_a_later_run_goes_on_by_the_last_plan(parallel_flavour: Flavour, tmp_path: Path) -> None:
    job = hungry_job(tmp_path, "0 60 20")
    assert mpirun(parallel_flavour, 2, [*RUN, job], timeout=120).returncode == COMPLETE
    before = results(tmp_path)
    whole = {name: before.values[name] for name in before.values}
    last = epochs_of(before) == 1
    make_pending(before, last)
    (tmp_path / "limit").write_text(ENOUGH)
    assert run(job) == COMPLETE
    after = results(tmp_path)
    assert np.array_equal(epochs_of(after) == 1, last)
    for name, values in whole.items():
        assert np.array_equal(after.values[name], values)
    with pytest.raises(UserError, match=r"plan batch_size \(20 there, 40 here\)"):
        run(job, ["evaluation.batch_size=40"])


def test_memory_may_be_short_again(tmp_path: Path) -> None:
    done = mpirun(MPICH_WHEEL, 2, [*RUN, hungry_job(tmp_path, "1 40 10")], timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    found = results(tmp_path)
    assert [plan.batch_size for plan in epochs.plans(found)] == [40, 20, 10]
    check_each_epoch(found, tmp_path)


def test_all_ranks_may_lack_memory_at_once(tmp_path: Path) -> None:
    """Rank 0 finds out before the first point that half the batch will not do."""
    done = mpirun(MPICH_WHEEL, 2, [*RUN, hungry_job(tmp_path, "-1 40 10")], timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    assert [plan.batch_size for plan in epochs.plans(results(tmp_path))] == [40, 10]


def test_a_rank_without_any_memory_costs_no_point(tmp_path: Path) -> None:
    done = mpirun(MPICH_WHEEL, 2, [*RUN, hungry_job(tmp_path, "1 40 0")], timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    found = results(tmp_path)
    assert [plan.batch_size for plan in epochs.plans(found)] == [40, 20, 10, 5, 2, 1]
    assert (found.status == DONE).all()


def test_where_no_batch_is_smaller_the_run_ends(tmp_path: Path) -> None:
    job = hungry_job(tmp_path, "-1 60 0")
    with pytest.raises(UserError, match=r"in batches of 1, the smallest: out of memory: .* again"):
        run(job)
    found = results(tmp_path)
    assert 0 < found.count(DONE) < found.points
    assert found.count(FAILED) == 0
    (tmp_path / "limit").write_text(ENOUGH)
    assert run(job) == COMPLETE


def test_a_batch_that_the_job_asks_for_is_kept(tmp_path: Path) -> None:
    job = hungry_job(tmp_path, "1 3 20", evaluation={"batch_size": 40})
    done = mpirun(MPICH_WHEEL, 3, [*RUN, job], timeout=120)
    assert done.returncode == COMPLETE, done.stderr  # the other ranks have computed them
    job = hungry_job(tmp_path, "-1 40 20", evaluation={"batch_size": 40})
    done = mpirun(MPICH_WHEEL, 2, [*RUN, job, "--overwrite"], timeout=120)
    assert done.returncode == SOME_FAILED, done.stderr
    found = results(tmp_path)
    assert len(epochs.plans(found)) == 1
    message = "in batches of 40, as evaluation.batch_size says (auto makes them smaller): out of"
    assert all(said.startswith(message) for said in found.errors().values())
    left = found.count(FAILED)
    assert run(hungry_job(tmp_path, "-1 0 20")) == COMPLETE
    assert results(tmp_path).count_epochs()[1] == left


def memory_for(batch_size: int, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No larger batches may be used for a step of a run."""
    original = getattr(Prepared, what)

    def limited(prepared: Prepared, *args: Any) -> Any:
        if prepared.plan.batch_size > batch_size:
            raise OutOfMemoryError("out of memory")
        return original(prepared, *args)

    monkeypatch.setattr(Prepared, what, limited)


def test_theta_itself_may_need_a_smaller_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is a results file that begins no epoch; afterwards it does."""
    job = hungry_job(tmp_path, ENOUGH)
    with monkeypatch.context() as patch:
        memory_for(20, "measure_theta", patch)
        assert run(job) == COMPLETE
    assert [plan.batch_size for plan in epochs.plans(results(tmp_path))] == [20]
    with monkeypatch.context() as patch:
        memory_for(5, "measure_theta", patch)
        assert run(job) == COMPLETE
    found = results(tmp_path)
    assert [plan.batch_size for plan in epochs.plans(found)] == [20, 5]
    assert found.count_epochs()[:2].tolist() == [225, 0]
    memory_for(0, "measure_theta", monkeypatch)
    with pytest.raises(UserError, match="in batches of 1, the smallest: out of memory"):
        run(job)
    with pytest.raises(UserError, match=r"in batches of 5, as evaluation\.batch_size says"):
        run(job, ["evaluation.batch_size=5"])


def test_a_new_epoch_is_not_begun_for_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its values at theta can't be compared to the bit."""
    job = hungry_job(tmp_path, ENOUGH)
    run(job)
    memory_for(20, "measure_theta", monkeypatch)
    code = (tmp_path / "toy.py").read_text()
    (tmp_path / "toy2.py").write_text(code.replace("nn.ReLU()", "nn.Tanh()"))
    with pytest.raises(UserError, match="another job: values at theta"):
        run(job, ["model.factory=toy2.py:model"])
    assert len(results(tmp_path).epochs) == 1


def test_a_later_run_may_have_less_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = hungry_job(tmp_path, ENOUGH)
    run(job)
    make_pending(results(tmp_path), np.arange(225).reshape(15, 15) % 3 == 1)
    monkeypatch.setattr("lossgrid.run.load.available", lambda device, sharers: 3000)
    assert run(job) == COMPLETE
    found = results(tmp_path)
    assert found.count_epochs()[:2].tolist() == [150, 75]
    monkeypatch.undo()
    check_each_epoch(found, tmp_path)


def make_pending(found: Results, which: np.ndarray[Any, Any]) -> None:
    """As a kill could have left the file."""
    with h5py.File(found.path, "r+") as file:
        for name, value in {"status": PENDING, "points/epoch": NO_EPOCH}.items():
            file[f"lossgrid/{name}"][...] = np.where(which, value, file[f"lossgrid/{name}"][...])


def test_an_evaluator_may_need_a_smaller_batch(tmp_path: Path) -> None:
    job = hungry_job(tmp_path, ENOUGH)
    script = program(
        tmp_path,
        "import os\n"
        "from lossgrid.run import steps\n"
        "from lossgrid.errors import OutOfMemoryError\n"
        "equip = steps.equip\n"
        "def large(job, loaded, checked):\n"
        "    if os.environ.get('PMI_RANK') == '1' and checked.plan.batch_size > 15:\n"
        "        raise OutOfMemoryError('out of memory')\n"
        "    return equip(job, loaded, checked)\n"
        "steps.equip = large\n",
    )
    done = mpirun(MPICH_WHEEL, 2, [script, "run", job], timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    assert "rank 1 on " in done.stderr
    assert [plan.batch_size for plan in epochs.plans(results(tmp_path))] == [10]


@pytest.mark.parametrize("most", [20, 0])
def test_the_comparison_with_float32_may_need_a_smaller_batch(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where even single samples are too many, nothing is compared."""
    grid = {"alpha": {"min": -1, "max": 1, "points": 300}}
    job = toy_job(tmp_path, grid=grid, evaluation={"precision": "bfloat16"})
    again = precision.again

    def limited(evaluate: Any, *args: Any) -> Any:
        if evaluate.plan.batch_size > most:
            raise OutOfMemoryError("out of memory")
        return again(evaluate, *args)

    monkeypatch.setattr(precision, "again", limited)
    assert run(job) == COMPLETE
    rows = results(tmp_path).precision
    assert rows is not None
    assert np.isfinite(rows["float32"]).all() == (most > 0)
    assert [plan.batch_size for plan in epochs.plans(results(tmp_path))][:2] == [40, 20]


def test_a_kill_before_the_first_point_of_an_epoch(tmp_path: Path) -> None:
    job = hungry_job(tmp_path, "-1 60 20")
    script = program(
        tmp_path,
        "import os, signal\n"
        "from lossgrid.run import epochs\n"
        "begin = epochs.begin\n"
        "def killed(*args):\n"
        "    begin(*args)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "epochs.begin = killed\n",
    )
    command = [sys.executable, str(script), "run", str(job)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    begun = results(tmp_path)
    left = begun.count(PENDING)
    assert left > 0
    assert [plan.batch_size for plan in epochs.plans(begun)] == [40, 20]
    assert run(job) == COMPLETE
    found = results(tmp_path)
    assert found.count_epochs()[1] == left
    check_each_epoch(found, tmp_path)


def test_points_to_a_tolerance_go_on(parallel_flavour: Flavour, tmp_path: Path) -> None:
    data = {"train": {"factory": "toy.py:data", "kwargs": {"samples": 1000}}}
    job = hungry_job(tmp_path, "1 60 30", data=data, evaluation={"tolerance": 0.03})
    done = mpirun(parallel_flavour, 2, [*RUN, job], timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    found = results(tmp_path)
    assert [plan.batch_size for plan in epochs.plans(found)] == [50, 25]
    assert found.count_epochs()[:2].min() > 0
    exact = hungry_job(tmp_path / "exact", ENOUGH, data=data)
    assert run(exact) == COMPLETE
    truth = results(tmp_path / "exact").values["train_loss"]
    apart = np.abs(found.values["train_loss"] - truth)
    assert (apart <= 5 * found.values["train_loss_sem"] + 1e-5).all()


def test_interpolated_points_belong_to_no_epoch(tmp_path: Path) -> None:
    grid = plane(33, 25) | {"refine": 0.05}
    assert run(hungry_job(tmp_path, "-1 60 20", grid=grid)) == COMPLETE
    found = results(tmp_path)
    guessed = found.status == INTERPOLATED
    assert guessed.any()
    assert np.array_equal(epochs_of(found) == NO_EPOCH, guessed)
    assert found.count_epochs()[:2].min() > 0
    assert found.count_epochs().sum() == (~guessed).sum()


def test_an_allocation_that_truly_fails(tmp_path: Path) -> None:
    """The address space shrinks during the run, as if something else had taken the memory."""
    job = toy_job(tmp_path, metrics=["loss", "toy.py:reserving"], grid=GRID)
    command = [sys.executable, "-m", "lossgrid", "run", str(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # one batch at a time
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == COMPLETE, done.stderr
    assert "can't allocate memory" in done.stderr
    assert [plan.batch_size for plan in epochs.plans(results(tmp_path))] == [40, 20]
    assert results(tmp_path).count_epochs()[:2].min() > 0

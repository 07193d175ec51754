"""Jobs from beginning to end: on one rank in this process, on several under a real mpirun."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lossgrid.data import digits as load_digits
from lossgrid.engine.messages import DONE, FAILED
from lossgrid.evaluate import tuning
from lossgrid.exits import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.models import digits_cnn
from lossgrid.run import lead
from lossgrid.run.steps import run
from lossgrid.store.results import Results
from tests.mpi import MPICH_WHEEL, Flavour, mpirun
from tests.runs import (
    plane,
    program,
    results,
    stacked,
    stopped_at_once,
)
from tests.toy import toy_job

TOY_COLUMNS = ["train_loss", "train_accuracy"]


def test_one_rank_completes_a_plane(tmp_path: Path) -> None:
    assert run(toy_job(tmp_path)) == COMPLETE
    found = results(tmp_path)
    assert list(found.values) == sorted(TOY_COLUMNS)
    assert found.values["train_loss"].shape == (5, 7)
    assert np.isfinite(found.values["train_loss"]).all()
    assert (found.status == DONE).all()
    assert found.alpha[3] == 0.0
    assert not (tmp_path / "out" / "toy.vtkhdf.lock").exists()
    assert (tmp_path / "out" / "toy.png").exists()


def test_several_draws_are_the_lines_of_each_alone(tmp_path: Path) -> None:
    """And are stored with their directions, of which the first is that of one draw."""
    line = {"alpha": plane(7, 5)["alpha"]}
    for name, draws in (("one", 1), ("three", 3)):
        (tmp_path / name).mkdir()
        assert run(toy_job(tmp_path / name, grid=line, directions={"draws": draws})) == COMPLETE
    one, three = results(tmp_path / "one"), results(tmp_path / "three")
    for column in TOY_COLUMNS:
        lines = [three.values[f"{column}_d{draw}"] for draw in range(3)]
        np.testing.assert_allclose(lines[0], one.values[column], rtol=1e-6)
        np.testing.assert_allclose(three.values[column], np.mean(lines, axis=0), rtol=1e-14)
        assert not np.allclose(lines[1], lines[2])
    with h5py.File(one.path) as alone, h5py.File(three.path) as file:
        directions = file["lossgrid/directions"]
        assert list(directions) == ["x_d0", "x_d1", "x_d2"]
        first = alone["lossgrid/directions/x/0.weight"][()]
        np.testing.assert_array_equal(directions["x_d0/0.weight"][()], first)


def test_one_rank_needs_no_mpi(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['mpi4py'] = None  # an import of it would fail\n"
        "from lossgrid.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "run", str(toy_job(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "directions: norm_theta" in done.stderr
    assert "cosine" in done.stderr
    assert "at theta: train_loss" in done.stderr
    assert f"lossgrid plot {tmp_path}" in done.stderr


def test_a_line_has_no_beta(tmp_path: Path) -> None:
    grid = {"alpha": {"min": -1, "max": 1, "points": 9}}
    assert run(toy_job(tmp_path, grid=grid)) == COMPLETE
    found = results(tmp_path)
    assert found.beta is None
    assert found.values["train_loss"].shape == (9,)


def test_a_complete_job_computes_nothing_again(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    run(job)
    before = (tmp_path / "out" / "toy.vtkhdf").read_bytes()
    assert run(job) == COMPLETE
    assert mpirun(MPICH_WHEEL, 3, ["-m", "lossgrid", "run", job], timeout=120).returncode == 0
    assert (tmp_path / "out" / "toy.vtkhdf").read_bytes() == before


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_the_same_bits_under_every_mpi(flavour: Flavour, ranks: int, tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    run(job)
    alone = stacked(results(tmp_path))
    args = ["-m", "lossgrid", "run", job, "--overwrite"]
    done = mpirun(flavour, ranks, args, timeout=120)
    assert done.returncode == 0, done.stderr
    assert ("parallel HDF5" in done.stderr) == (flavour.parallel and ranks > 1)
    assert stacked(results(tmp_path)) == alone


@pytest.mark.parametrize("settings", [[], ["evaluation.batch_size=7", "metrics=[toy.py:slow]"]])
def test_only_rank_0_records_the_network(settings: list[str], tmp_path: Path) -> None:
    """And none loads torch's compiler for it, which costs a second and 70 MB."""
    job = toy_job(tmp_path, grid=plane(3, 3))
    script = tmp_path / "watched.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from lossgrid.cli import main\n"
        "from lossgrid.evaluate import recording\n"
        "made = []\n"
        "class Recorder(recording._Recorder):\n"
        "    def __init__(self, tensors):\n"
        "        super().__init__(tensors)\n"
        "        made.append(self)\n"
        "recording._Recorder = Recorder\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    from mpi4py import MPI\n"
        f"    found = Path({str(tmp_path)!r}) / ('found' + str(MPI.COMM_WORLD.rank))\n"
        "    found.write_text(f'{len(made) > 0} {\"torch._dynamo\" in sys.modules}')\n"
    )
    sets = [word for setting in settings for word in ("--set", setting)]
    done = mpirun(MPICH_WHEEL, 3, [script, "run", job, *sets], timeout=120)
    assert done.returncode == 0, done.stderr
    found = [(tmp_path / f"found{rank}").read_text() for rank in range(3)]
    assert found == ["True False", "False False", "False False"]


def test_the_rank_with_least_memory_decides_on_the_batch(tmp_path: Path) -> None:
    job = toy_job(tmp_path)

    def run_with(room: int, *sets: str) -> subprocess.CompletedProcess[str]:
        script = program(
            tmp_path,
            "from lossgrid.run import load\n"
            "def available(device, sharers):\n"
            "    from mpi4py import MPI\n"
            f"    return {room} if MPI.COMM_WORLD.rank == 1 else 1 << 40\n"
            "load.available = available\n",
        )
        return mpirun(MPICH_WHEEL, 3, [script, "run", job, *sets], timeout=120)

    refused = run_with(100)
    assert refused.returncode == 2
    assert "batches of 1, and 0 MB are free" in refused.stderr
    done = run_with(2000)
    assert done.returncode == 0, done.stderr
    plan = json.loads(results(tmp_path).plan)
    assert plan["points_per_pass"] == 1
    assert 1 <= plan["batch_size"] < 40
    again = run_with(1 << 40, "--overwrite")
    assert again.returncode == 0, again.stderr
    assert json.loads(results(tmp_path).plan)["batch_size"] == 40


@pytest.mark.parametrize("setting", ["runtime.chunk=8", "runtime.coordinator=dedicated"])
def test_the_same_bits_however_the_work_is_shared(setting: str, tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    run(job)
    alone = stacked(results(tmp_path))
    args = ["-m", "lossgrid", "run", job, "--overwrite", "--set", setting]
    done = mpirun(MPICH_WHEEL, 3, args, timeout=120)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert stacked(found) == alone


def test_a_dedicated_coordinator_computes_nothing(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    args = ["-m", "lossgrid", "run", job, "--set", "runtime.coordinator=dedicated"]
    assert mpirun(MPICH_WHEEL, 3, args, timeout=120).returncode == 0
    with h5py.File(tmp_path / "out" / "toy.vtkhdf") as file:
        assert set(np.unique(file["lossgrid/points/rank"])) <= {1, 2}


def test_more_ranks_than_points(tmp_path: Path) -> None:
    grid = {"alpha": {"min": 0, "max": 1, "points": 2}}
    job = toy_job(tmp_path, grid=grid)
    done = mpirun(MPICH_WHEEL, 5, ["-m", "lossgrid", "run", job], timeout=120)
    assert done.returncode == 0, done.stderr
    assert (results(tmp_path).status == DONE).all()


def test_failed_points_are_recorded_and_tried_again(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    (tmp_path / "broken").touch()
    assert run(job) == SOME_FAILED
    found = results(tmp_path)
    failed = found.status == FAILED
    assert 0 < failed.sum() < failed.size
    assert np.isnan(found.values["train_loss"][failed]).all()
    assert np.isfinite(found.values["train_loss"][~failed]).all()
    assert set(found.errors()) == set(np.flatnonzero(failed))
    assert set(found.errors().values()) == {"ValueError: too far out"}

    (tmp_path / "broken").unlink()
    assert run(job) == COMPLETE
    again = results(tmp_path)
    assert (again.status == DONE).all()
    assert not again.errors()
    with h5py.File(again.path) as file:
        attempts = file["lossgrid/points/attempt"][...]
    assert np.array_equal(attempts, np.where(failed, 2, 1))


def test_a_stop_before_failed_points_are_tried_again_loses_no_message(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    (tmp_path / "broken").touch()
    assert run(job) == SOME_FAILED
    messages = results(tmp_path).errors()
    (tmp_path / "broken").unlink()
    with stopped_at_once():
        assert run(job) == UNFINISHED
    left = results(tmp_path)
    assert left.count(FAILED) == len(left.errors()) > 0
    assert left.errors().items() <= messages.items()
    assert run(job) == COMPLETE


def test_a_measured_plan_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever it is: a resumed run does not measure, and a job that pins it has the same bits."""
    monkeypatch.setattr(tuning, "SHARE", math.inf)
    job = toy_job(tmp_path, evaluation={"tune": True}, grid=plane(41, 41))
    with stopped_at_once():
        assert run(job) == UNFINISHED
    begun = results(tmp_path)
    assert begun.attributes["tuning"].startswith("measured: ")
    monkeypatch.delattr(lead, "measure")
    assert run(job) == COMPLETE
    plan = json.loads(begun.plan)
    assert results(tmp_path).plan == begun.plan
    pinned = {key: plan[key] for key in ("batch_size", "points_per_pass", "network")}
    job = toy_job(tmp_path, evaluation=pinned, grid=plane(41, 41))
    assert run(job) == COMPLETE
    measured = stacked(results(tmp_path))
    assert run(job, overwrite=True) == COMPLETE
    assert stacked(results(tmp_path)) == measured


def test_all_ranks_are_told_the_measured_plan(tmp_path: Path) -> None:
    job = toy_job(tmp_path, evaluation={"tune": True})
    script = program(
        tmp_path,
        "from lossgrid.evaluate import tuning\n"
        "def fastest(seconds):\n"
        "    return tuning.Tuned(list(seconds)[-1], 'measured: so says the test')\n"
        "tuning.SHARE, tuning._fastest = float('inf'), fastest\n",
    )
    done = mpirun(MPICH_WHEEL, 3, [script, "run", job], timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    assert "plan: plain network, batches of 40; measured: so says the test" in done.stderr
    assert json.loads(results(tmp_path).plan)["network"] == "plain"


def test_another_environment_goes_on(parallel_flavour: Flavour, tmp_path: Path) -> None:
    """Another HDF5, another writer: the same file."""
    job = toy_job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    run(job)
    whole = stacked(results(tmp_path))
    (tmp_path / "broken").touch()
    assert run(job, overwrite=True) == SOME_FAILED
    (tmp_path / "broken").unlink()
    done = mpirun(parallel_flavour, 2, ["-m", "lossgrid", "run", job], timeout=120)
    assert done.returncode == 0, done.stderr
    assert "parallel HDF5" in done.stderr
    assert stacked(results(tmp_path)) == whole


def test_nan_and_infinity_are_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = toy_job(tmp_path, loss="toy.py:unbounded", metrics=["loss"])
    assert run(job) == COMPLETE
    found = results(tmp_path)
    values = found.values["train_loss"]
    assert np.isnan(values).any()
    assert np.isinf(values).any()
    odd = int((~np.isfinite(values)).sum())
    assert found.not_finite() == {"train_loss": odd}
    assert f"not finite: {odd} of train_loss, of 35 values" in capsys.readouterr().err
    assert (found.status == DONE).all()


def test_a_line_between_checkpoints_ends_in_their_own_losses(tmp_path: Path) -> None:
    """To the bit: theta at 0, the other at 1, running statistics and all."""
    weights = {}
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        network = digits_cnn()
        for _ in range(20):  # in training mode, so that running statistics differ
            network(torch.randn(16, 1, 8, 8) * (1 + seed))
        torch.save(network.state_dict(), tmp_path / f"{name}.pt")
        weights[name] = network.eval()
    digits = {"test": {"factory": "lossgrid.data:digits", "kwargs": {"train": False}}}

    def line(start: str, **spec: object) -> Results:
        model = {"factory": "lossgrid.models:digits_cnn", "checkpoint": str(tmp_path / start)}
        alpha = {"min": 0, "max": 1, "points": 3}
        job = toy_job(tmp_path, model=model, data=digits, grid={"alpha": alpha}, directions=spec)
        assert run(job, overwrite=True) == COMPLETE
        return results(tmp_path)

    between = {"kind": "between", "checkpoints": [str(tmp_path / "b.pt")], "include": "state"}
    found = {name: values.copy() for name, values in line("a.pt", **between).values.items()}
    for end, start in ((0, "a.pt"), (2, "b.pt")):
        own = line(start).values
        assert {name: float(values[0]) for name, values in own.items()} == {
            name: float(values[end]) for name, values in found.items()
        }
    split = load_digits(train=False)
    images, labels = split.batch(0, len(split), torch.float32)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(weights["b"](images), labels)
    assert found["test_loss"][2] == pytest.approx(float(loss), rel=1e-5)

"""Jobs from beginning to end: on one rank in this process, on several under a real mpirun."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lossgrid import lead
from lossgrid.ending import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED, PENDING
from lossgrid.engine.signals import StopRequest
from lossgrid.errors import UserError
from lossgrid.evaluate import tuning
from lossgrid.lattice import level_of
from lossgrid.run import run
from lossgrid.store.lock import RunLock
from lossgrid.store.log import RunLog
from lossgrid.store.results import Results, read_results
from lossgrid.store.samples import samples_path
from tests.mpi import MPICH_WHEEL, Flavour, mpirun, started
from tests.toy import toy_job

TOY_COLUMNS = ["train_loss", "train_accuracy"]


def results(folder: Path) -> Results:
    return read_results(folder / "out" / "toy.vtkhdf")


def stacked(found: Results) -> bytes:
    return np.stack([found.values[name] for name in found.values]).tobytes()


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
    """What that needs of torch costs a second and 70 MB."""
    job = toy_job(tmp_path, grid=plane(3, 3))
    script = tmp_path / "heavy.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from lossgrid.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    from mpi4py import MPI\n"
        "    heavy = {'sympy', 'torch._dynamo'} & set(sys.modules)\n"
        f"    found = Path({str(tmp_path)!r}) / ('heavy' + str(MPI.COMM_WORLD.rank))\n"
        "    found.write_text(str(len(heavy)))\n"
    )
    sets = [word for setting in settings for word in ("--set", setting)]
    done = mpirun(MPICH_WHEEL, 3, [script, "run", job, *sets], timeout=120)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"heavy{rank}").read_text() for rank in range(3)] == ["2", "0", "0"]


def test_the_rank_with_least_memory_decides_on_the_batch(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    script = tmp_path / "short.py"

    def run_with(room: int, *sets: str) -> subprocess.CompletedProcess[str]:
        script.write_text(
            "from lossgrid import prepare\n"
            "def available(device, sharers):\n"
            "    from mpi4py import MPI\n"
            f"    return {room} if MPI.COMM_WORLD.rank == 1 else 1 << 40\n"
            "prepare.available = available\n"
            "from lossgrid.cli import main\n"
            "main()\n"
        )
        return mpirun(MPICH_WHEEL, 3, [script, "run", job, *sets], timeout=120)

    refused = run_with(1000)
    assert refused.returncode == 2
    assert "batches of 1, and 0 MB are free" in refused.stderr
    done = run_with(3000)
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


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """A run in this process finds that it has been asked to stop when it begins to compute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequest, "__call__", lambda request: True)
        yield


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
    script = tmp_path / "patient.py"
    script.write_text(
        "from lossgrid.evaluate import tuning\n"
        "def fastest(seconds):\n"
        "    return tuning.Tuned(list(seconds)[-1], 'measured: so says the test')\n"
        "tuning.SHARE, tuning._fastest = float('inf'), fastest\n"
        "from lossgrid.cli import main\n"
        "main()\n"
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


@pytest.mark.parametrize("boot", ["an earlier one", None])
def test_a_power_loss_between_status_and_values(boot: str | None, tmp_path: Path) -> None:
    """The disk has kept a status whose value it has not; after a mere kill it never does so."""
    job = toy_job(tmp_path)
    run(job)
    whole = stacked(results(tmp_path))
    with h5py.File(tmp_path / "out" / "toy.vtkhdf", "r+") as file:
        file["VTKHDF/PointData/train_accuracy"][2, 3] = np.nan
    leave_lock(tmp_path, **({"boot": boot} if boot else {}))
    assert run(job) == COMPLETE
    with h5py.File(tmp_path / "out" / "toy.vtkhdf") as file:
        attempts = file["lossgrid/points/attempt"][...]
    assert (attempts == 1).sum() == (34 if boot else 35)
    assert (stacked(results(tmp_path)) == whole) == bool(boot)


def leave_lock(folder: Path, **changes: str) -> None:
    """What a run leaves that does not end by itself."""
    output = folder / "out" / "toy.vtkhdf"
    left = folder / "out" / "toy.vtkhdf.lock"
    with RunLock(output):
        signature = json.loads(left.read_text())
    left.write_text(json.dumps(signature | changes))


def lose_power(folder: Path, row: int, column: int) -> None:
    """The disk has a point's status, but not its value."""
    with h5py.File(folder / "out" / "toy.vtkhdf", "r+") as file:
        assert file["lossgrid/status"][row, column] == DONE
        file["VTKHDF/PointData/train_loss"][row, column] = np.nan
    leave_lock(folder, boot="an earlier one")


def test_a_power_loss_is_remembered_until_its_points_are_pending(tmp_path: Path) -> None:
    """However the next run ends."""
    job = toy_job(tmp_path)
    run(job)
    whole = stacked(results(tmp_path))
    lose_power(tmp_path, 2, 3)
    with pytest.raises(UserError, match="damaged"), without(tmp_path, "lossgrid/status"):
        run(job)  # ends before it can see to the file
    with pytest.raises(UserError, match="results of another job"):
        run(job, ["data.train.kwargs={samples: 12}"])
    found = results(tmp_path)
    assert found.count(PENDING) == 1
    assert found.status[2, 3] == PENDING
    with h5py.File(found.path) as file:
        assert file["lossgrid"].attrs["complete"] == 0
    assert not (tmp_path / "out" / "toy.vtkhdf.lock").exists()
    assert run(job) == COMPLETE
    assert stacked(results(tmp_path)) == whole


@contextmanager
def without(folder: Path, dataset: str) -> Iterator[None]:
    with h5py.File(folder / "out" / "toy.vtkhdf", "r+") as file:
        file.move(dataset, "aside")
    try:
        yield
    finally:
        with h5py.File(folder / "out" / "toy.vtkhdf", "r+") as file:
            file.move("aside", dataset)


def test_a_refused_overwrite_forgets_no_power_loss(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    run(job)
    whole = stacked(results(tmp_path))
    lose_power(tmp_path, 2, 3)
    with pytest.raises(UserError, match=r"model\.expect"):
        run(job, ["model.expect={train_loss: 77}"], overwrite=True)
    assert run(job) == COMPLETE
    assert stacked(results(tmp_path)) == whole
    lose_power(tmp_path, 2, 3)
    assert run(job, overwrite=True) == COMPLETE
    assert not (tmp_path / "out" / "toy.vtkhdf.lock").exists()


def test_a_point_that_a_power_loss_has_spoilt_may_fail(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    run(job)
    whole = stacked(results(tmp_path))
    (tmp_path / "broken").touch()
    assert run(job, overwrite=True) == SOME_FAILED
    point = int(np.flatnonzero(results(tmp_path).status == FAILED)[0])
    (tmp_path / "broken").unlink()
    assert run(job) == COMPLETE
    lose_power(tmp_path, *divmod(point, 7))
    (tmp_path / "broken").touch()
    assert run(job) == SOME_FAILED
    assert set(results(tmp_path).errors()) == {point}
    (tmp_path / "broken").unlink()
    assert run(job) == COMPLETE
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_cleanly_and_the_same_command_goes_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    job = toy_job(tmp_path, loss="toy.py:slow", metrics=["loss"], grid=plane(31, 21))
    command = [sys.executable, "-m", "lossgrid", "run", str(job)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        await_points(tmp_path, 5)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == UNFINISHED, said
    assert "run the same command again" in said
    stopped = results(tmp_path)
    stored = stopped.status == DONE
    assert 5 <= stored.sum() < stored.size
    kept = stopped.values["train_loss"][stored]
    assert run(job) == COMPLETE
    assert np.array_equal(kept, results(tmp_path).values["train_loss"][stored])
    events = list(RunLog(job.parent / "out" / "toy.vtkhdf").events())
    assert [e["event"] for e in events] == ["start", "end", "start", "end"]
    assert events[1]["signal"] == number.name
    assert events[2]["done"] == stored.sum() == events[1]["stored"]


def test_a_signal_to_one_worker_stops_all_ranks(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:slow", metrics=["loss"], grid=plane(41, 41))
    script = tmp_path / "signalled.py"
    script.write_text(
        "import os, signal, sys, threading\n"
        "if os.environ.get('PMI_RANK') == '2':\n"
        "    from pathlib import Path\n"
        "    import time\n"
        "    def strike():\n"
        f"        while not Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.05)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Thread(target=strike, daemon=True).start()\n"
        "from lossgrid.cli import main\n"
        "main()\n"
    )
    with started(MPICH_WHEEL, 3, [script, "run", job]) as launcher:
        await_points(tmp_path, 5)
        (tmp_path / "go").touch()
        _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == UNFINISHED, said
    assert results(tmp_path).count(PENDING) > 0


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    """Even in the middle of a point that takes long."""
    job = toy_job(tmp_path, loss="toy.py:endless", metrics=["loss"])
    command = [sys.executable, "-m", "lossgrid", "run", str(job)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        await_points(tmp_path, 1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == UNFINISHED, said
    assert "Traceback" not in said
    assert results(tmp_path).count(DONE) >= 1


@pytest.mark.parametrize("victim", [0, 1])
def test_a_second_ctrl_c_waits_for_no_other_rank(
    parallel_flavour: Flavour, victim: int, tmp_path: Path
) -> None:
    """Though closing the file that all ranks write does."""
    job = toy_job(tmp_path, loss="toy.py:endless", metrics=["loss"])
    with started(parallel_flavour, 2, ["-m", "lossgrid", "run", job]) as launcher:
        await_points(tmp_path, 1)
        process = rank_processes(job)[victim]
        os.kill(process, signal.SIGINT)
        time.sleep(0.5)
        assert launcher.poll() is None
        os.kill(process, signal.SIGINT)
        _, said = launcher.communicate(timeout=20)
    assert launcher.returncode != 0
    assert "Traceback" not in said
    assert results(tmp_path).count(DONE) >= 1


@pytest.mark.parametrize("victim", [0, 1])
def test_kill_9_loses_no_stored_point(flavour: Flavour, victim: int, tmp_path: Path) -> None:
    settings = {"loss": "toy.py:slow", "metrics": ["loss"], "grid": plane(17, 13)}
    job = toy_job(tmp_path, **settings)
    args = ["-m", "lossgrid", "run", job]
    with started(flavour, 2, args) as launcher:
        await_points(tmp_path, 5)
        os.kill(rank_processes(job)[victim], signal.SIGKILL)
        launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    killed = results(tmp_path)
    stored = killed.status == DONE
    assert 5 <= stored.sum() < stored.size
    kept = killed.values["train_loss"][stored]
    done = mpirun(flavour, 2, args, timeout=120)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert np.array_equal(found.values["train_loss"][stored], kept)
    (tmp_path / "fresh").mkdir()
    assert run(toy_job(tmp_path / "fresh", **settings)) == COMPLETE
    assert stacked(found) == stacked(results(tmp_path / "fresh"))
    with h5py.File(found.path) as file:  # nothing that was stored was computed again
        assert (file["lossgrid/points/attempt"][...][stored] == 1).all()


def test_a_rank_whose_disk_fails_at_the_end(parallel_flavour: Flavour, tmp_path: Path) -> None:
    """All ranks hear of it before the file is said to be complete."""
    job = toy_job(tmp_path)
    script = tmp_path / "failing.py"
    script.write_text(
        "import errno\n"
        "from lossgrid.store import writer\n"
        "def fsync(path):\n"
        "    from mpi4py import MPI\n"
        "    if MPI.COMM_WORLD.rank == 1:\n"
        "        raise OSError(errno.EIO, 'Input/output error')\n"
        "writer.fsync = fsync\n"
        "from lossgrid.cli import main\n"
        "main()\n"
    )
    done = mpirun(parallel_flavour, 2, [script, "run", job], timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("lossgrid: ") == 1
    assert "lossgrid: rank 1 on " in done.stderr
    assert "can't be stored: Input/output error" in done.stderr
    assert "complete" not in done.stderr
    found = results(tmp_path)
    with h5py.File(found.path) as file:
        assert file["lossgrid"].attrs["complete"] == 0
    assert mpirun(parallel_flavour, 2, ["-m", "lossgrid", "run", job]).returncode == COMPLETE


def test_another_run_of_the_same_job_is_refused_while_one_is_at_work(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:endless", metrics=["loss"])
    command = [sys.executable, "-m", "lossgrid", "run", str(job)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        await_points(tmp_path, 1)
        second = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        first.kill()
    assert second.returncode == 2
    assert "another run is working on this file" in second.stderr
    assert str(first.pid) in second.stderr


def plane(nx: int, ny: int) -> dict[str, dict[str, float]]:
    return {
        "alpha": {"min": -1, "max": 1, "points": nx},
        "beta": {"min": -1, "max": 1, "points": ny},
    }


def await_points(folder: Path, wanted: int, seconds: float = 60) -> None:
    """Return once so many points are stored: a reader beside the running job."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        there = (folder / "out" / "toy.vtkhdf").exists()
        if there and results(folder).count(DONE) >= wanted:
            return
        time.sleep(0.05)
    raise TimeoutError(f"fewer than {wanted} points after {seconds} s")


def rank_processes(job: Path) -> list[int]:
    """Python processes that run a job, in the order in which they started."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"python" in words[0] and str(job).encode() in words:
            found.append(int(cmdline.parent.name))
    return sorted(found)


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
    script = tmp_path / "full.py"
    script.write_text(
        "from lossgrid.errors import UserError\n"
        "from lossgrid.store.writer import PointWriter\n"
        "def full(*_):\n"
        "    raise UserError('the disk is full')\n"
        "PointWriter.write_interpolated = full\n"
        "from lossgrid.cli import main\n"
        "main()\n"
    )
    done = mpirun(flavour, 2, [script, "run", job], timeout=60)
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rank_that_can_not_keep_samples_ends_the_run(tmp_path: Path) -> None:
    job = sampled_job(tmp_path)
    script = tmp_path / "full.py"
    script.write_text(
        "import os\n"
        "from lossgrid.errors import StorageError\n"
        "from lossgrid.store.samples import SampleFile\n"
        "def full(*_):\n"
        "    raise StorageError('the disk is full')\n"
        "if os.environ.get('PMI_RANK') == '1':\n"
        "    SampleFile.keep = full\n"
        "from lossgrid.cli import main\n"
        "main()\n"
    )
    done = mpirun(MPICH_WHEEL, 2, [script, "run", job], timeout=60)
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert results(tmp_path).count(FAILED) == 0

"""Runs that end before their work does: signals, kills, lost power, broken disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from lossgrid.engine.messages import DONE, FAILED, PENDING
from lossgrid.errors import UserError
from lossgrid.exits import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.run.steps import run
from lossgrid.store.lock import RunLock
from lossgrid.store.log import RunLog
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
    assert events[2]["left"] == stored.size - stored.sum()
    assert events[2]["tries"] == stored.sum() == events[1]["stored"]


def test_a_signal_to_one_worker_stops_all_ranks(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:slow", metrics=["loss"], grid=plane(41, 41))
    script = program(
        tmp_path,
        "import os, signal, sys, threading\n"
        "if os.environ.get('PMI_RANK') == '2':\n"
        "    from pathlib import Path\n"
        "    import time\n"
        "    def strike():\n"
        f"        while not Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.05)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Thread(target=strike, daemon=True).start()\n",
    )
    with started(MPICH_WHEEL, 3, [script, "run", job]) as launcher:
        await_points(tmp_path, 5)
        (tmp_path / "go").touch()
        _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == UNFINISHED, said
    assert results(tmp_path).count(PENDING) > 0


def lingering_job(folder: Path) -> Path:
    """After a few points, the next ones take 40 s each, in 40 batches."""
    (folder / "lingering").touch()
    settings = {"loss": "toy.py:lingering", "metrics": ["loss"]}
    return toy_job(folder, **settings, evaluation={"batch_size": 1}, grid=plane(9, 9))


@pytest.mark.parametrize("whom", ["all ranks", "one worker"])
def test_a_signal_drops_a_point_that_takes_long(whom: str, tmp_path: Path) -> None:
    job = lingering_job(tmp_path)
    with started(MPICH_WHEEL, 3, ["-m", "lossgrid", "run", job]) as launcher:
        await_points(tmp_path, 5)
        time.sleep(1)
        targets = rank_processes(job)
        for process in targets if whom == "all ranks" else targets[-1:]:
            os.kill(process, signal.SIGUSR1)
        began = time.monotonic()
        _, said = launcher.communicate(timeout=60)
    assert time.monotonic() - began < 20  # a point takes longer
    assert launcher.returncode == UNFINISHED, said
    assert "points pending" in said
    assert "still busy" not in said
    (tmp_path / "lingering").unlink()
    stopped = results(tmp_path)
    stored = stopped.status == DONE
    assert 5 <= stored.sum() < stored.size
    assert run(job) == COMPLETE
    with h5py.File(stopped.path) as file:  # nothing that was stored was computed again
        assert (file["lossgrid/points/attempt"][...][stored] == 1).all()


def test_a_signal_waits_for_no_rank_that_can_drop_nothing(
    parallel_flavour: Flavour, tmp_path: Path
) -> None:
    """One batch of theirs takes an hour."""
    job = toy_job(tmp_path, loss="toy.py:endless", metrics=["loss"])
    with started(parallel_flavour, 2, ["-m", "lossgrid", "run", job]) as launcher:
        await_points(tmp_path, 1)
        time.sleep(2)  # then all ranks are at a point that never ends
        for process in rank_processes(job):
            os.kill(process, signal.SIGUSR1)
        _, said = launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    assert "still busy with one batch" in said
    assert "Traceback" not in said
    assert results(tmp_path).count(DONE) >= 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_while_loading_ends_the_run_at_once(
    number: signal.Signals, tmp_path: Path
) -> None:
    settings = {"model": {"factory": "changed.py:model"}}
    (tmp_path / "changed.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "def model():\n"
        "    Path(__file__).with_name('loading').touch()\n"
        "    time.sleep(3600)\n"
    )
    command = [sys.executable, "-m", "lossgrid", "run", str(toy_job(tmp_path, **settings))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "loading").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == UNFINISHED
    assert said.splitlines() == ["lossgrid: stopped at once; run the same command again to go on"]
    assert not list((tmp_path / "out").iterdir())


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
    script = program(
        tmp_path,
        "import errno\n"
        "from lossgrid.store import disk\n"
        "def fsync(path):\n"
        "    from mpi4py import MPI\n"
        "    if MPI.COMM_WORLD.rank == 1:\n"
        "        raise OSError(errno.EIO, 'Input/output error')\n"
        "disk.fsync = fsync\n",
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

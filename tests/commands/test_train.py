from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lossgrid.commands.train import train
from lossgrid.errors import UserError
from lossgrid.exits import BAD_INPUT, COMPLETE, UNFINISHED
from lossgrid.job import ModelSpec
from lossgrid.problem import load_model, open_checkpoint
from lossgrid.store.lock import RunLock
from lossgrid.store.metrics import read_metrics
from tests.train.toy import assert_same_bits, checkpoints, table, toy_training

PATIENCE = 250.0
"""Seconds for a process to start and do its work where others use all cores."""

SLOW = {"model": {"factory": "net.py:slow"}}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Those of the process are put back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def two(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Training files of the same settings in two folders."""

    def make(**changes: Any) -> tuple[Path, Path]:
        folders = [tmp_path / name for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        first, second = (toy_training(folder, **changes) for folder in folders)
        return first, second

    return make


def started(file: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lossgrid", "train", str(file), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=file.parent
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.005)


def test_keeps_what_trajectories_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(toy_training(tmp_path)) == COMPLETE
    out = tmp_path / "out"
    assert list(checkpoints(out)) == [f"epoch-{epoch}.pt" for epoch in range(5)]
    assert not list(out.glob(".*"))
    model = load_model(ModelSpec(factory="net.py:model", checkpoint=out / "epoch-4.pt"), tmp_path)
    assert int(model.get_buffer("1.num_batches_tracked")) == 4 * 4
    for epoch, rate in enumerate([0.05, 0.05, 0.05, 0.005, 0.005]):
        opened = open_checkpoint(out / f"epoch-{epoch}.pt", model)
        assert (opened.epoch, opened.learning_rate) == (epoch, pytest.approx(rate))
    rows = read_metrics(out / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert "complete after 4 epochs" in capsys.readouterr().out


def test_the_initial_weights_are_those_of_the_seed(tmp_path: Path) -> None:
    file = toy_training(tmp_path)
    weights = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(file, [f"output={name}", f"model.seed={seed}", "epochs=1", f"seed={len(weights)}"])
        weights[name] = checkpoints(tmp_path / name)["epoch-0.pt"]["state_dict"]["5.weight"]
    assert torch.equal(weights["a"], weights["b"])
    assert not torch.equal(weights["a"], weights["c"])


def test_checkpoints_of_some_epochs(tmp_path: Path) -> None:
    assert train(toy_training(tmp_path, every=3)) == COMPLETE
    assert [*checkpoints(tmp_path / "out")] == ["epoch-0.pt", "epoch-3.pt", "epoch-4.pt"]
    assert len(read_metrics(tmp_path / "out" / "metrics.csv")) == 4


def test_the_last_epoch_that_is_asked_for_has_a_checkpoint(tmp_path: Path) -> None:
    file, out = toy_training(tmp_path, every=3), tmp_path / "out"
    assert train(file, ["epochs=2"]) == COMPLETE
    (out / "epoch-2.pt").unlink()  # as if more had been asked for, and a signal had come
    with pytest.raises(UserError, match=r"for 2 epochs, and .* epoch 1 have not been kept"):
        train(file, ["epochs=1"])
    assert train(file, ["epochs=2"]) == COMPLETE
    assert [*checkpoints(out)] == ["epoch-0.pt", "epoch-2.pt"]


def test_more_epochs_go_on_with_the_same_bits(two: Callable[..., tuple[Path, Path]]) -> None:
    first, second = two()
    assert train(first) == COMPLETE
    assert train(second, ["epochs=1"]) == COMPLETE
    assert train(second, ["epochs=3"]) == COMPLETE
    assert train(second) == COMPLETE
    assert_same_bits(second.parent / "out", first.parent / "out")
    before = {path: path.stat().st_mtime_ns for path in (second.parent / "out").glob("epoch-*")}
    assert train(second) == COMPLETE  # nothing to do
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_kill_in_the_middle_of_an_epoch(two: Callable[..., tuple[Path, Path]]) -> None:
    first, second = two(**SLOW)
    assert train(first) == COMPLETE
    out = second.parent / "out"
    process = started(second)
    wait_for(out / "epoch-2.pt", process)
    time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (out / "epoch-4.pt").exists()
    assert train(second) == COMPLETE
    assert_same_bits(out, first.parent / "out")


FORKED = """
import os, signal, sys
from pathlib import Path
import torch
from lossgrid.commands.train import train

save, file, writes = torch.save, Path(sys.argv[1]), 0

def die_in(number):
    def save_or_die(content, target):
        global writes
        writes += 1
        save(content, target)
        if writes == number:
            target.truncate(target.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    torch.save = save_or_die

def status_of(number):
    child = os.fork()
    if child == 0:
        die_in(number)
        os._exit(train(file, [f"output=out-{first}"]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for first in range(1, 100):
    if status_of(first) == 0:
        break
    assert status_of(0) == 0
print(first - 1)
"""


def test_a_kill_in_each_write(two: Callable[..., tuple[Path, Path]]) -> None:
    """Of a checkpoint or of what resumes the run: two an epoch, and before the first."""
    first, second = two(epochs=3)
    assert train(first) == COMPLETE
    command = [sys.executable, "-c", FORKED, str(second)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.split()[-1] == "8"
    for number in range(1, 10):
        out = second.parent / f"out-{number}"
        assert_same_bits(out, first.parent / "out")
        assert not list(out.glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_is_done(
    number: signal.Signals, two: Callable[..., tuple[Path, Path]]
) -> None:
    first, second = two(**SLOW)
    assert train(first) == COMPLETE
    out = second.parent / "out"
    process = started(second)
    wait_for(out / "epoch-1.pt", process)
    time.sleep(0.03)
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == UNFINISHED
    assert f"stopped by {number.name} after" in said
    assert "Traceback" not in said
    assert train(second) == COMPLETE
    assert_same_bits(out, first.parent / "out")


def test_a_second_process_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toy_training(tmp_path)
    monkeypatch.setattr("lossgrid.commands.train.RunLock", impatient)
    with RunLock(tmp_path / "out"), pytest.raises(UserError, match="another run is working"):
        train(file)
    assert not (tmp_path / "out").exists()
    assert train(file) == COMPLETE


def impatient(output: Path, say: Callable[[str], None]) -> RunLock:
    return RunLock(output, say, patience=0.1)


@pytest.mark.parametrize("file", ["epoch-0.pt", "resume.pt", "metrics.csv"])
def test_a_full_disk_loses_nothing(file: str, two: Callable[..., tuple[Path, Path]]) -> None:
    """A limit on files' size stands in for the disk: the system refuses the write alike."""
    first, second = two(epochs=9)
    assert train(first) == COMPLETE
    out = second.parent / "out"
    room = {"epoch-0.pt": 1000, "resume.pt": 5000, "metrics.csv": 600}[file]
    if file == "metrics.csv":  # written first when a run is resumed
        assert train(second, ["epochs=8"]) == COMPLETE
        (out / file).unlink()
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
    try:
        with pytest.raises(UserError, match=rf"{file}.*(File too large|No space left|write)"):
            train(second)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
    assert not list(out.glob(".*"))
    assert train(second) == COMPLETE
    assert_same_bits(out, first.parent / "out")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.learning_rate=0.1"], "optimizer"),
        (["schedule.milestones=[1]"], "schedule"),
        (["augmentation.crop=0"], "augmentation"),
        (["batch_size=8"], "batch_size"),
        (["seed=1"], "seed (0 there, 1 here)"),
        (["model.seed=1"], "initial weights"),
        (["compute.precision=bfloat16"], "precision (float32 there, bfloat16 here)"),
        (["data.train.samples=40"], "data.train (50 samples"),
        (["data.test.kwargs.samples=21"], "data.test (20 samples"),
    ],
)
def test_another_run_is_not_continued(tmp_path: Path, overrides: list[str], words: str) -> None:
    file = toy_training(tmp_path)
    train(file, ["epochs=1"])
    with pytest.raises(UserError, match="belongs to another training run") as refused:
        train(file, overrides)
    assert words in str(refused.value)
    assert len(checkpoints(tmp_path / "out")) == 2
    assert train(file, overrides, overwrite=True) == COMPLETE
    assert len(table(tmp_path / "out")) == 5


def test_overwriting_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    file = toy_training(tmp_path)
    train(file)
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(UserError, match="names nothing"):
        train(file, ["model.factory=net.py:nothing"], overwrite=True)
    assert len(checkpoints(tmp_path / "out")) == 5
    train(file, ["epochs=1"], overwrite=True)
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {"epoch-0.pt", "epoch-1.pt", "resume.pt", "metrics.csv", "mine.txt"}


def test_checkpoints_of_another_program_are_not_mixed_in(tmp_path: Path) -> None:
    file = toy_training(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "epoch-7.pt").touch()
    with pytest.raises(UserError, match=r"has checkpoints \(epoch-7\.pt\) but no resume\.pt"):
        train(file)


@pytest.mark.parametrize("damage", [lambda content: content[:2000], lambda content: b""])
def test_a_damaged_state_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file, resume = toy_training(tmp_path), tmp_path / "out" / "resume.pt"
    train(file, ["epochs=1"])
    resume.write_bytes(damage(resume.read_bytes()))
    with pytest.raises(UserError, match=r"resume\.pt: can't be resumed from") as refused:
        train(file)
    assert "--overwrite" in str(refused.value)
    torch.save({"state_dict": {}}, resume)
    with pytest.raises(UserError, match="it lacks facts, place, rows, snapshot"):
        train(file)


def test_other_threads_are_told_of_and_the_same_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    file = toy_training(tmp_path, compute={})
    train(file, ["epochs=1"])
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    train(file, ["epochs=2"])
    assert torch.get_num_threads() == 3
    assert "last bits" not in capsys.readouterr().out
    train(file, ["epochs=3", "compute.threads=1"])
    told = capsys.readouterr().out
    assert "the last bits may differ: threads (3 there, 1 here)" in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "net.py:unbounded", "metrics": ["loss"]}, "training diverged in epoch 1"),
        (
            {"optimizer": {"learning_rate": 1e30, "weight_decay": 1}, "metrics": ["accuracy"]},
            "training diverged in epoch 1",
        ),
        ({"model": {"factory": "torch.nn:Flatten"}}, "without parameters to train"),
        ({"compute": {"device": "cuda"}}, "device: cuda, but torch sees no GPU"),
        ({"compute": {"precision": "tf32"}}, "compute.precision: tf32 needs an NVIDIA GPU"),
        ({"model": {"factory": "net.py:nothing"}}, "names nothing"),
        (
            {
                "model": {"factory": "net.py:linear"},
                "data": {name: {"factory": "net.py:vectors"} for name in ("train", "test")},
            },
            "augmentation: crop and flip need data.train to be images",
        ),
        ({"model": {"factory": "net.py:linear"}}, "data.train: the model"),
        ({"output": "net.py/out"}, "can't write the results there"),
        ({"loss": "net.py:picky", "metrics": ["loss"]}, "batch_size 16 raised ValueError: too"),
    ],
)
def test_bad_input(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    if torch.cuda.is_available() and "compute" in changes:
        pytest.skip("there is a GPU")
    with pytest.raises(UserError) as refused:
        train(toy_training(tmp_path, **changes))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("size", "rank"), [("PMI_SIZE", "PMI_RANK"), ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID")]
)
def test_several_processes_are_refused_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, rank: str
) -> None:
    file = toy_training(tmp_path, epochs=1)
    monkeypatch.setenv(size, "2")
    monkeypatch.setenv(rank, "0")
    with pytest.raises(UserError, match="started 2 processes, and 'lossgrid train' is one"):
        train(file)
    monkeypatch.setenv(rank, "1")
    assert train(file) == BAD_INPUT
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv(size, "1")
    monkeypatch.setenv(rank, "0")
    assert train(file) == COMPLETE


def test_the_command(tmp_path: Path) -> None:
    file = toy_training(tmp_path)
    process = started(file, "--set", "epochs=1")
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == COMPLETE
    assert "epoch 1 of 1: learning rate 0.05, train loss " in said
    process = started(file, "--set", "epochs=0")
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert said.startswith("lossgrid: ")
    assert said.count("\n") == 1
    assert os.listdir(tmp_path / "out")

"""What the ranks of a node have in common is loaded by one of them, and lies in memory once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lossgrid.engine import world as worlds
from lossgrid.job import read_job
from lossgrid.run import sharing
from lossgrid.run.steps import run
from tests.mpi import MPICH_WHEEL, TWO_NODES, Flavour, mpirun
from tests.runs import plane, results, stacked
from tests.toy import toy_job

COUNTED = '''
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from lossgrid.data import Split

from toy import data, model

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Halved:
    def __call__(self, inputs, dtype):
        return inputs[:, :4].to(dtype) / 2


def counted(alone=False, samples=40, unused=0):
    """Leaves a file for each process that calls it."""
    (HERE / f"called-{os.getpid()}").touch()
    inputs, targets = data(samples)
    inputs = torch.cat([inputs, torch.zeros(samples, unused)], dim=1)
    halved = Halved()
    return Split(inputs, targets, (lambda *given: halved(*given)) if alone else halved)


def unlike(rank):
    """Another network on one rank."""
    network = model()
    with torch.no_grad():
        network[0].bias += float(os.environ["PMI_RANK"] == str(rank))
    return network


def memory(outputs, targets):
    """Leaves what Linux says of each process's memory."""
    found = Path("/proc/self/smaps_rollup").read_text()
    (HERE / f"memory-{os.getpid()}").write_text(found)
    float(outputs[0, 0])  # so it is not recorded
    return outputs[:, 0]
'''


def counted_job(folder: Path, metrics: tuple[str, ...] = (), **kwargs: Any) -> Path:
    (folder / "counted.py").write_text(COUNTED)
    data = {"train": {"factory": "counted.py:counted", "kwargs": kwargs}}
    return toy_job(folder, data=data, metrics=["loss", *metrics], grid=plane(5, 5))


def calls(folder: Path) -> int:
    """How many processes have called the factory since this was asked last."""
    found = list(folder.glob("called-*"))
    for file in found:
        file.unlink()
    return len(found)


def test_one_rank_loads_for_a_node(flavour: Flavour, tmp_path: Path) -> None:
    job = counted_job(tmp_path)
    run(job)
    alone = stacked(results(tmp_path))
    assert calls(tmp_path) == 1
    args = ["-m", "lossgrid", "run", job, "--overwrite"]
    done = mpirun(flavour, 3, args, timeout=120)
    assert done.returncode == 0, done.stderr
    assert calls(tmp_path) == 1
    assert stacked(results(tmp_path)) == alone


def test_each_node_loads_for_itself(tmp_path: Path) -> None:
    job = counted_job(tmp_path)
    environment = MPICH_WHEEL.environment() | TWO_NODES
    args = ["-m", "lossgrid", "run", job]
    done = mpirun(MPICH_WHEEL, 5, args, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert calls(tmp_path) == 2


def test_what_cannot_be_handed_over_is_loaded_by_each_rank(tmp_path: Path) -> None:
    job = counted_job(tmp_path)
    run(job)
    alone = stacked(results(tmp_path))
    calls(tmp_path)
    job = counted_job(tmp_path, alone=True)
    args = ["-m", "lossgrid", "run", job, "--overwrite"]
    done = mpirun(MPICH_WHEEL, 3, args, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "2 ranks load data for themselves" in done.stderr
    assert "lambda" in done.stderr
    assert calls(tmp_path) == 3
    assert stacked(results(tmp_path)) == alone


def test_a_rank_of_the_node_that_has_another_network_is_refused(tmp_path: Path) -> None:
    """Its biases do not move, so that the plane which it is given does not hold them."""
    counted_job(tmp_path)
    network = {"factory": "counted.py:unlike", "kwargs": {"rank": 1}}
    args = ["-m", "lossgrid", "run", toy_job(tmp_path, model=network)]
    done = mpirun(MPICH_WHEEL, 3, args, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "rank 1 would not compute what rank 0 does: weights (" in done.stderr


def test_data_lie_in_memory_once(tmp_path: Path) -> None:
    """Whether there are much or little, ranks have about as much memory of their own."""
    own = []
    for unused in (0, 32_000):  # 256 MB in all
        job = counted_job(tmp_path, ("counted.py:memory",), samples=2000, unused=unused)
        args = ["-m", "lossgrid", "run", job, "--overwrite", "--set", "evaluation.batch_size=50"]
        args += ["--set", "grid.alpha.points=2", "--set", "grid.beta.points=2"]
        done = mpirun(MPICH_WHEEL, 3, args, timeout=200)
        assert done.returncode == 0, done.stderr
        found = [file.read_text() for file in tmp_path.glob("memory-*")]
        assert len(found) == 3 * (len(own) + 1)
        sizes = re.findall(r"^Private_\w+: +(\d+)", "".join(found), re.MULTILINE)
        own.append(sum(map(int, sizes)) // 1000)  # MB, the second time those of both
    little, both = own
    assert both - 2 * little < 200


def test_memory_outlives_who_has_made_it_and_is_written_by_none(tmp_path: Path) -> None:
    world = worlds.World(
        None, 0, 2, "here", 0, 2, 1, worlds.Deaths(None), ["here"] * 2, {1: os.getpid()}
    )
    job = read_job(toy_job(tmp_path))
    with sharing._shared_memory() as memory:
        loaded, offer = sharing._offered(job, world, None, memory)
        other, refusal = sharing._taken(job, world, None, offer)
    assert refusal is None
    inputs, others = (one.problem.splits["train"].inputs for one in (loaded, other))
    assert torch.equal(inputs, others)
    assert torch.equal(loaded.plane.corners, other.plane.corners)
    assert loaded.fingerprint == other.fingerprint
    before = inputs.clone()
    others.zero_()
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("path", ["/proc/self/fd/999", ""])
def test_a_rank_that_reaches_no_memory_of_others_loads_for_itself(
    path: str, tmp_path: Path
) -> None:
    job = read_job(toy_job(tmp_path))
    offer = sharing.Offer(path, "" if path else "rank 0 has died")
    loaded, refusal = sharing._taken(job, worlds.alone(), None, offer)
    assert len(loaded.problem.splits["train"]) == 40
    assert refusal

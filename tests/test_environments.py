"""The MPI environments: ranks start, talk, write one file together, and can be killed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.mpi import MPICH_WHEEL, Flavour, mpirun, started

HELLO = """
import os
from mpi4py import MPI
world = MPI.COMM_WORLD
ranks = world.gather((world.rank, os.getpid()))
if world.rank == 0:
    print(world.size, [rank for rank, _ in ranks], len({pid for _, pid in ranks}))
    print(MPI.get_vendor()[0])
"""

WRITE = """
import sys
import h5py
from mpi4py import MPI
world = MPI.COMM_WORLD
start = sum(range(world.rank + 1))  # rank r owns r + 1 elements
with h5py.File(sys.argv[1], "w", driver="mpio", comm=world) as file:
    values = file.create_dataset("values", (sum(range(world.size + 1)),), "f8")
    for index in range(start, start + world.rank + 1):
        values[index] = 100 * world.rank + index
"""

HANG = """
import os, pathlib, sys, time
from mpi4py import MPI
pathlib.Path(sys.argv[1], str(os.getpid())).touch()
time.sleep(600)
"""


def test_ranks_form_one_world(flavour: Flavour) -> None:
    result = mpirun(flavour, 4, ["-c", HELLO])
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["4 [0, 1, 2, 3] 4", flavour.vendor]


def test_sixteen_ranks_start_on_any_machine(flavour: Flavour) -> None:
    result = mpirun(flavour, 16, ["-c", HELLO])
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == f"16 {list(range(16))} 16"


def test_torch_comes_from_the_default_environment(flavour: Flavour) -> None:
    result = subprocess.run(
        [
            flavour.python,
            "-c",
            "import torch, h5py, mpi4py; print(torch.__file__, mpi4py.__file__)",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    torch, mpi4py = result.stdout.split()
    assert "/.venv/" in torch
    assert f"/{flavour.folder}/" in mpi4py


def test_h5py_is_built_as_the_flavour_says(flavour: Flavour) -> None:
    result = mpirun(flavour, 1, ["-c", "import h5py; print(h5py.get_config().mpi)"])
    assert result.stdout.strip() == str(flavour.parallel), result.stderr


def test_ranks_write_one_file_together(parallel_flavour: Flavour, tmp_path: Path) -> None:
    path = tmp_path / "together.h5"
    result = mpirun(parallel_flavour, 4, ["-c", WRITE, path])
    assert result.returncode == 0, result.stderr
    owner = np.repeat(np.arange(4), np.arange(1, 5))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["values"], 100 * owner + np.arange(10))


def test_no_rank_outlives_its_run(flavour: Flavour, tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    with started(flavour, 4, ["-c", HANG, tmp_path]):
        while len(ranks := list(tmp_path.iterdir())) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [is_running(int(rank.name)) for rank in ranks] == [True] * 4
    assert [is_running(int(rank.name)) for rank in ranks] == [False] * 4


def test_a_hanging_run_times_out() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        mpirun(MPICH_WHEEL, 2, ["-c", "import time; time.sleep(600)"], timeout=1)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # a zombie's is empty
    except OSError:
        return False


def test_a_failing_rank_is_reported(flavour: Flavour) -> None:
    program = "from mpi4py import MPI; MPI.COMM_WORLD.rank == 1 and MPI.COMM_WORLD.Abort(7)"
    assert mpirun(flavour, 2, ["-c", program]).returncode != 0


def test_a_run_knows_nothing_of_a_surrounding_job(
    flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMI_RANK", "7")
    monkeypatch.setenv("PMI_SIZE", "8")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "7")
    program = "import os; print(*(os.environ.get(k) for k in ('PMI_RANK', 'OMPI_COMM_WORLD_RANK')))"
    ranks = mpirun(flavour, 1, ["-c", program]).stdout.split()
    assert "7" not in ranks
    assert "0" in ranks

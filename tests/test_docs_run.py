"""The blocks of README and docs run: commands, Python, job files.

Shell is read by bash, loops and variables and all; the commands of lossgrid that it comes to run in
this process, on inputs made small by `tests/workplace.py`; those that take longest once, where they
differ in numbers and the files of earlier runs alone. What can't run here is named below.
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
import yaml
from torch import nn

import lossgrid
from lossgrid.commands.train import train
from lossgrid.run.steps import run
from tests.mpi import ROOT
from tests.pages import PAGES, Block, blocks, commands_of
from tests.store.released.make import HERE as RELEASED
from tests.store.test_released import unpacked
from tests.workplace import Workplace, small, user_code

NOT_RUN = {
    "make": "installs this environment; CI runs it",
    "python3 -m venv": "`make package` does",
    "pip": "installs from the network; `make package` does",
    "git clone": "from an address that readers fill in",
    "module load": "a cluster's own",
    "h5pcc": "of a cluster's HDF5 with MPI",
    "which h5pcc": "of a cluster's HDF5 with MPI",
    "grep": "reads what h5pcc says",
    "apt-get": "installs a machine's own OpenGL",
    "dnf": "installs a machine's own OpenGL",
    "pvbatch": "needs ParaView; tests/view/test_paraview.py draws with it where it is",
    "xvfb-run": "needs ParaView; tests/view/test_paraview.py draws with it where it is",
    "lossgrid submit": "needs SLURM; tests/cluster submits to one",
    "python": "not one of lossgrid: the tutorial's is run by tests/test_docs_blocks.py",
}
"""Beginnings of commands that do not run here, and why."""

OTHERS = {
    "text": "formulas, messages and lists of names",
    "ini": "a style: below",
    "yaml": "job files: below",
}
"""Languages of blocks that are no code, or a test's own."""

HAVE_RUN: dict[tuple[str, ...], Path | None] = {}

ELSEWHERE = {"tutorial.md": "test_docs_blocks.py: as a whole, by bash"}

pytestmark = pytest.mark.usefixtures("one_thread")

RUNNING = [page for page in PAGES if page.name not in ELSEWHERE and any(blocks(page))]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plane of two splits, estimated, with training runs called adam and sgd."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "mymodel.py").write_text(user_code())
    torch.manual_seed(0)
    states = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(4)]
    for epoch, network in enumerate(states):
        torch.save(network.state_dict(), folder / f"epoch-{epoch}.pt")
    set_ = {"factory": "mymodel.py:test_set"}
    job = {
        "model": {"factory": "mymodel.py:build", "checkpoint": "epoch-3.pt"},
        "data": {"train": set_, "test": set_},
        "directions": {"kind": "pca", "checkpoints": "epoch-*.pt"},
        "trajectories": {
            "adam": {"checkpoints": [f"epoch-{n}.pt" for n in (1, 0, 2)]},
            "sgd": {"checkpoints": [f"epoch-{n}.pt" for n in (0, 2, 1)]},
        },
        "evaluation": {"tolerance": 0.1},
        "grid": {axis: {"min": -9, "max": 9, "points": 9} for axis in ("alpha", "beta")},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    assert run(folder / "job.yaml") == 0
    return folder / "out" / "job.vtkhdf"


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training run."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "jobs").mkdir()
    file = folder / "jobs" / "train.yaml"
    settings = small(yaml.safe_load((ROOT / "jobs" / "digits-train.yaml").read_text()))
    file.write_text(yaml.safe_dump(settings | {"output": "../run"}))
    assert train(file, ()) == 0
    return folder / "run"


JOBS = [
    pytest.param(page, block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(b for b in blocks(page) if b.language == "yaml")
]


def first_job(page: Path) -> dict[str, Any]:
    """The first job file, or part of one, that a page shows."""
    settings = (yaml.safe_load(block.text) for block in blocks(page) if block.language == "yaml")
    return next((one for one in settings if "optimizer" not in one), {})


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing by more, and CI runs other things beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("page", "block"), JOBS)
def test_a_job_file_runs(
    page: Path,
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    results: Path,
    training: Path,
) -> None:
    """Sections alone are those of the README's job."""
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load(block.text)
    if "npz" in block.text:  # of images
        settings["model"] = {"factory": "lossgrid.models:resnet20", "checkpoint": "resnet20.pt"}
        settings["metrics"] = ["loss"]
    place = Workplace(tmp_path, settings if "optimizer" not in settings else {}, results, training)
    if "optimizer" in settings:
        assert place.run(["train", "train.yaml"]) in (0, None)
    else:
        assert place.run(["run", "job.yaml"]) == 0


@pytest.fixture
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    results: Path,
    training: Path,
) -> Workplace:
    monkeypatch.chdir(tmp_path)
    if request.param.name == "precision.md":
        results = unpacked(next(RELEASED.glob("*/rounded*")), tmp_path)
    return Workplace(tmp_path, first_job(request.param), results, training)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("page", "place"),
    [(page, page) for page in RUNNING],
    indirect=["place"],
    ids=[page.name for page in RUNNING],
)
def test_a_page_runs(page: Path, place: Workplace) -> None:
    names = {"lossgrid": lossgrid, **given(page)}
    for block in blocks(page):
        if block.is_shell:
            run_shell(page, block, place)
        elif block.language == "python":
            for word in block.text.split('"')[1::2]:
                place.provide(word)
            exec(block.text, names)
        else:
            assert block.is_directive or block.language in OTHERS, block


def run_shell(page: Path, block: Block, place: Workplace) -> None:
    for words in commands_of(block, Path.cwd()):
        if reason_not_to_run(words) is None:
            assert words[0] == "lossgrid", f"neither run nor in NOT_RUN: {words}"
            if not has_run(page, words[1:]):
                assert place.run(words[1:]) in (0, None), words


def has_run(page: Path, words: list[str]) -> bool:
    """Whether a long command has run that differs, if at all, in numbers and files of earlier runs.

    What it made then is copied to where it would be now.
    """
    if words[0] not in ("run", "train", "doctor"):
        return False
    own = page.name if {"job.yaml", "train.yaml"} & set(words) else ""
    alike = re.compile(r"[./]*out/[^],]*|(?<![a-z])[-+.e\d]+")
    key = own, *(alike.sub("", word) for word in words)
    outputs = [word.partition("=")[2] for word in words if word.startswith("output=")]
    output = Path(words[1]).parent.resolve() / outputs[0] if outputs else None
    if key not in HAVE_RUN:
        HAVE_RUN[key] = output
        return False
    before = HAVE_RUN[key]
    if before is not None and output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        if before.is_dir():
            shutil.copytree(before, output, dirs_exist_ok=True)
        else:
            shutil.copy(before, output)
    return True


def reason_not_to_run(words: list[str]) -> str | None:
    beginnings = itertools.accumulate(words[:3], lambda begun, word: f"{begun} {word}")
    return next((NOT_RUN[begun] for begun in beginnings if begun in NOT_RUN), None)


def given(page: Path) -> dict[str, Any]:
    """What a page's Python takes for granted."""
    if page.name == "README.md":
        inputs = torch.randn(50, 4)
        return {
            "model": nn.Linear(4, 3),
            "inputs": inputs,
            "targets": inputs.argmax(dim=1).clamp(max=2),
        }
    return {}


def test_the_style_is_one(tmp_path: Path) -> None:
    (style,) = (b for b in blocks(ROOT / "docs" / "figures.md") if b.language == "ini")
    path = tmp_path / "own.mplstyle"
    path.write_text(style.text)
    assert mpl.rc_params_from_file(path, fail_on_error=True, use_default_template=False)

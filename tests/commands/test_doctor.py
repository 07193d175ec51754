from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lossgrid import probe
from lossgrid.commands import doctor
from lossgrid.commands.doctor import Finding, compare_launcher, diagnose, report
from lossgrid.probe import MPILibrary, library_of
from tests.mpi import MPICH_PARALLEL, MPICH_WHEEL, ROOT, Flavour

PRINT_FINDINGS = """
import dataclasses, json
from lossgrid.commands.doctor import diagnose
print(json.dumps([dataclasses.asdict(finding) for finding in diagnose()]))
"""
LIBRARY_VERSION = """
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
print(MPI.Get_library_version())
"""


def findings_of(python: Path, **variables: str) -> dict[str, Finding]:
    output = subprocess.check_output(
        [python, "-c", PRINT_FINDINGS], env=os.environ | variables, cwd=ROOT, timeout=100
    )
    return {entry["name"]: Finding(**entry) for entry in json.loads(output)}


def output_of(*command: str | Path) -> str:
    return subprocess.check_output(command, text=True, timeout=60)


def test_the_default_environment_is_found_as_it_is() -> None:
    findings = findings_of(MPICH_WHEEL.python, PATH=str(MPICH_WHEEL.python.parent))
    for name in ("Python", "torch", "MPI", "mpirun", "matplotlib", "vtk", "cores", "memory"):
        assert findings[name].status == "ok", findings[name]
    assert findings["h5py"].status == "warning"
    assert "rank 0 writes" in findings["h5py"].found
    assert findings["SLURM"].status == "missing"


def test_what_is_not_ok_has_a_remedy_of_one_sentence() -> None:
    findings = diagnose()
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert (finding.remedy == "") == (finding.status == "ok"), finding
        assert finding.status == "ok" or finding.remedy.endswith("."), finding


def test_the_report_aligns_names_and_puts_a_remedy_below() -> None:
    findings = [
        Finding("MPI", "ok", "MPICH 5.0.2"),
        Finding("mpirun", "warning", "Open MPI 4.1.4", "Use the other one."),
    ]
    assert report(findings).splitlines() == [
        "ok       MPI     MPICH 5.0.2",
        "warning  mpirun  Open MPI 4.1.4",
        "                 Use the other one.",
    ]
    assert report([]) == ""


def test_the_mpirun_of_another_mpi_is_named(tmp_path: Path) -> None:
    other = tmp_path / "mpirun"
    other.write_text("#!/bin/sh\necho 'mpirun (Open MPI) 4.1.4'\n")
    other.chmod(0o755)
    mpirun = findings_of(MPICH_WHEEL.python, PATH=f"{tmp_path}:/usr/bin:/bin")["mpirun"]
    assert mpirun.status == "warning"
    assert str(other) in mpirun.found
    assert str(MPICH_WHEEL.python.with_name("mpirun")) in mpirun.remedy


def test_parallel_h5py_is_recognised(parallel_flavour: Flavour) -> None:
    h5py = findings_of(parallel_flavour.python)["h5py"]
    assert h5py.status == "ok"
    assert "every rank writes" in h5py.found


def test_an_empty_python_is_told_what_to_install(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    findings = findings_of(tmp_path / "bin" / "python", PATH="")
    missing = {name for name, finding in findings.items() if finding.status == "missing"}
    assert missing >= {"torch", "MPI", "mpirun", "h5py", "matplotlib", "vtk", "ParaView", "SLURM"}
    assert "pip install" in findings["MPI"].remedy


def test_a_silent_library_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(probe, "_MPI_PROBE", "import time; time.sleep(600)")
    start = time.monotonic()
    (mpi,) = (finding for finding in diagnose() if finding.name == "MPI")
    assert time.monotonic() - start < 30
    assert mpi.status == "missing"
    assert "no answer" in mpi.found


def test_launcher_and_library_of_one_mpi_agree(flavour: Flavour) -> None:
    launcher = library_of(output_of(flavour.command(1, [])[0], "--version"))
    library = library_of(output_of(flavour.python, "-c", LIBRARY_VERSION))
    assert library.family == flavour.vendor
    assert compare_launcher("mpirun", launcher, library).status == "ok", (launcher, library)


def test_two_versions_of_one_family_are_told_apart() -> None:
    old, new = (library_of(output_of(f.command(1, [])[0], "--version")) for f in VERSIONS)
    assert old.family == new.family == "MPICH"
    assert compare_launcher("mpirun", old, new).status == "warning"


VERSIONS = (MPICH_PARALLEL, MPICH_WHEEL)


@pytest.mark.parametrize(
    ("banner", "expected"),
    [
        ("Intel(R) MPI Library 2021.13 for Linux* OS", MPILibrary("Intel MPI", "2021.13")),
        (
            "Intel(R) MPI Library for Linux* OS, Version 2021.13 B",
            MPILibrary("Intel MPI", "2021.13"),
        ),
        ("slurm", MPILibrary("an unknown MPI", "")),
        ("", MPILibrary("an unknown MPI", "")),
    ],
)
def test_banners_of_mpis_that_are_not_here(banner: str, expected: MPILibrary) -> None:
    assert library_of(banner) == expected


@pytest.mark.parametrize(
    ("plugins", "status", "word"),
    [
        ("none pmix pmi2", "ok", "srun speaks pmi2, pmix"),
        ("none pmix", "warning", "MPICH wants pmi2"),
        ("none", "warning", "--launcher"),
    ],
)
def test_slurm_and_what_srun_speaks(
    plugins: str, status: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = "\n\t".join(["MPI plugin types are...", *plugins.split()])
    for name, said in (("sbatch", "slurm 24.05.1"), ("srun", listing)):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = doctor._slurm({"library": "MPICH Version: 5.0.2"})
    assert found.status == status
    assert "slurm 24.05.1" in found.found
    assert word in found.found + found.remedy

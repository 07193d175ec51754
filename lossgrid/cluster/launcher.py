"""How the ranks of a SLURM job are started: with which launcher, speaking which PMI."""

from __future__ import annotations

import re
import subprocess

from lossgrid.errors import UserError
from lossgrid.probe import own_mpirun

PLUGINS = {"MPICH": "pmi2", "Intel MPI": "pmi2", "Open MPI": "pmix"}
"""What srun must speak with an MPI, for its ranks to find each other."""


def srun_plugins() -> set[str]:
    """The PMI plug-ins that srun has; empty where there is no srun, or none that says so."""
    try:
        listing = subprocess.run(
            ["srun", "--mpi=list"], check=False, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    if listing.returncode != 0:
        return set()
    return set(
        re.findall(r"^\s*(pmi2|pmix|cray_shasta)\s*$", listing.stdout + listing.stderr, re.M)
    )


def launcher(family: str | None, plugins: set[str], ranks: int) -> list[str]:
    """The words before `python`: none for one rank, else srun if it can, else mpirun.

    Args:
        family: whose MPI mpi4py uses; None if it does not load.
        plugins: see `srun_plugins`.
        ranks: to be started.

    Raises:
        UserError: several ranks can't be started.
    """
    if ranks == 1:
        return []
    if family is None:
        raise UserError(
            f"{ranks} ranks need MPI, but mpi4py does not load here; install it with "
            "'pip install lossgrid[mpi]' ('lossgrid doctor' says more), or ask for one rank"
        )
    plugin = PLUGINS.get(family)
    if plugin is None:
        raise UserError(
            f"mpi4py uses {family}, of which it is not known how srun starts it; say it with "
            "--launcher, such as --launcher 'srun --mpi=pmix'"
        )
    if plugin in plugins or not plugins:
        return ["srun", f"--mpi={plugin}"]
    return [str(own_mpirun() or "mpirun")]

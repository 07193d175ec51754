"""Ranks that die while the others go on: what an MPI tells of them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpi4py import MPI

SWITCH = "OMPI_MCA_mpi_ft_enable"
"""What `mpirun --with-ft ulfm` tells its ranks."""

LOOK_SECONDS = 0.1
"""How often MPI is asked; to ask costs microseconds."""


class OrphanedError(BaseException):
    """Rank 0 has died, without which no other has anything to do.

    Not an Exception: it is nobody's point that has failed.
    """


class Deaths:
    """Which ranks have died, where the others can go on without them.

    Open MPI can under `mpirun --with-ft ulfm` (User-Level Failure Mitigation, the fault tolerance
    of MPI 5); elsewhere the launcher ends all ranks when one dies.

    Args:
        comm: of all ranks; None without MPI.

    Attributes:
        survivable: whether this is such an MPI.
        known: all that have died so far.
    """

    def __init__(self, comm: MPI.Comm | None) -> None:
        self._comm = comm
        self.survivable = comm is not None and os.environ.get(SWITCH) == "1"
        self.known: set[int] = set()
        self._looked = 0.0

    def new(self) -> set[int]:
        """Ranks that were not known to be dead so far."""
        if self._comm is None or not self.survivable:
            return set()
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return set()
        self._looked = time.monotonic()
        failed = self._comm.Get_failed()
        dead = set(failed.Translate_ranks(None, self._comm.group)) if failed.size else set()
        failed.Free()
        new = dead - self.known
        self.known |= new
        return new

    def excuse(self, error: Exception) -> None:
        """Go on after an MPI call that has failed because a rank is dead.

        Raises:
            Exception: it has failed of something else.
        """
        from mpi4py import MPI

        failures = (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING)
        if self._comm is None or not isinstance(error, MPI.Exception):
            raise error
        if error.Get_error_class() not in failures:
            raise error
        self._comm.Ack_failed()  # else no message would be received from any source

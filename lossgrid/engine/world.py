"""The ranks of this run: how many there are, where they sit, and what each may use."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from lossgrid.engine.backoff import Backoff
from lossgrid.errors import UserError

if TYPE_CHECKING:
    from mpi4py import MPI

LAUNCHERS = {
    "OMPI_COMM_WORLD_SIZE": "Open MPI's mpirun",
    "PMI_SIZE": "MPICH's mpirun or srun",
    "SLURM_STEP_NUM_TASKS": "srun",
}
"""Environment variables in which a launcher says how many ranks it started."""

RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""Those in which it says which of them a process is."""

SET_UP_TAG = 2

ABORT_SECONDS = 2.0
"""How long MPI may take to end the other ranks, before this one just dies."""


@dataclass(frozen=True)
class World:
    """Rank and size of this process, its neighbours on the node, its share of the cores."""

    comm: MPI.Comm | None
    rank: int
    size: int
    host: str
    local_rank: int
    local_size: int
    cores: int

    def broadcast(self, message: Any) -> Any:
        """What rank 0 says, on every rank; waiting costs no CPU."""
        if self.comm is None:
            return message
        if self.rank == 0:
            requests = [
                self.comm.isend(message, dest=rank, tag=SET_UP_TAG) for rank in range(1, self.size)
            ]
            _wait(lambda: all(request.Test() for request in requests))
            return message
        _wait(lambda: self.comm.iprobe(source=0, tag=SET_UP_TAG))  # type: ignore[union-attr]
        return self.comm.recv(source=0, tag=SET_UP_TAG)

    def gather(self, message: Any) -> list[Any]:
        """What every rank says, in rank order, on rank 0 (empty elsewhere); costs no CPU."""
        if self.comm is None:
            return [message]
        if self.rank != 0:
            self.comm.send(message, dest=0, tag=SET_UP_TAG)
            return []
        heard = [message]
        for rank in range(1, self.size):
            _wait(lambda rank=rank: self.comm.iprobe(source=rank, tag=SET_UP_TAG))  # type: ignore
            heard.append(self.comm.recv(source=rank, tag=SET_UP_TAG))
        return heard

    def abort(self, status: int) -> NoReturn:
        """End every rank at once: one that dies alone would leave the others waiting.

        Nothing is cleaned up: an ordinary exit would wait for the batches in work, and some MPIs'
        Abort is one, in which HDF5 waits for all ranks to close their file.
        """
        if self.comm is not None and self.size > 1:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # kills without the interpreter's help
            signal.setitimer(signal.ITIMER_REAL, ABORT_SECONDS)
            self.comm.Abort(status)
        os._exit(status)


def _wait(happened: Callable[[], bool]) -> None:
    backoff = Backoff()
    while not happened():
        backoff.sleep()


def start() -> World:
    """Join the other ranks, if a launcher started any; without one, MPI is not touched.

    Raises:
        UserError: a launcher started several ranks, but they don't find each other.
    """
    launched = _launched()
    if not launched:
        return alone()
    name, expected = max(launched.items(), key=lambda item: item[1])
    try:
        import mpi4py

        mpi4py.rc.initialize = False  # MPICH under Open MPI's mpirun would abort at once
        mpi4py.rc.finalize = True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if expected == 1:
            return alone()
        raise UserError(
            f"{LAUNCHERS[name]} started {expected} ranks, but mpi4py does not load ({error}); "
            "install it with 'pip install mpi4py' beside the MPI that mpirun belongs to"
        ) from error
    foreign = "OMPI_COMM_WORLD_SIZE" in launched and MPI.get_vendor()[0] != "Open MPI"
    if not foreign:
        if not MPI.Is_initialized():
            _keep_addresses_short(MPI.Get_library_version())
            MPI.Init_thread(MPI.THREAD_FUNNELED)
        comm = MPI.COMM_WORLD.Dup()
        if comm.size > 1 or expected == 1:
            return joined(comm)
    library = MPI.Get_library_version().splitlines()[0].strip("\0 ").partition(", package")[0]
    raise UserError(
        f"{LAUNCHERS[name]} started {expected} ranks ({name}={expected}), but each is a world of "
        f"its own: mpi4py uses another MPI ({library}); take that MPI's mpirun, or the srun "
        "--mpi= plug-in that it speaks ('lossgrid doctor' shows what there is)"
    )


def refuse_several(command: str) -> bool:
    """See that no launcher has started several processes of a command that is one.

    Args:
        command: as people type it.

    Returns: whether this is one of several, and another tells the reason.

    Raises:
        UserError: this is the first of several.
    """
    name, size = max(_launched().items(), key=lambda item: item[1], default=("", 1))
    if size == 1:
        return False
    if any(_number(rank) for rank in RANKS):
        return True
    raise UserError(
        f"{LAUNCHERS[name]} started {size} processes, and '{command}' is one: all would do the "
        "same; start it without a launcher"
    )


def _launched() -> dict[str, int]:
    """How many ranks launchers say that they have started, by the variable that says so."""
    return {name: size for name in LAUNCHERS if (size := _number(name)) is not None}


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else None


def _keep_addresses_short(banner: str) -> None:
    """Have MPICH use libfabric in a SLURM job, where its build has that beside UCX.

    Its UCX addresses go out padded with whatever is in memory, at times in longer lines than
    SLURM's PMI reads; all ranks then wait for ever (pmodels/mpich, issue 6924).
    """
    if "SLURM_JOB_ID" in os.environ and re.search(r"ch4:.*\bucx\b.*\bofi\b", banner):
        os.environ.setdefault("MPIR_CVAR_CH4_NETMOD", "ofi")


def alone() -> World:
    """A world of one rank, without MPI."""
    return World(None, 0, 1, os.uname().nodename, 0, 1, len(os.sched_getaffinity(0)))


def joined(comm: MPI.Comm) -> World:
    """The world of a communicator's ranks, which nobody else may use from then on."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    # A launcher may bind each rank to a core of its own or all of them to all cores.
    together = set().union(*node.allgather(os.sched_getaffinity(0)))
    cores = max(1, len(together) // node.size)
    world = World(comm, comm.rank, comm.size, MPI.Get_processor_name(), node.rank, node.size, cores)
    node.Free()
    return world

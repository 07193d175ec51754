"""The ranks of this run: how many there are, where they sit, and what each may use."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from lossgrid.engine.backoff import Backoff
from lossgrid.engine.deaths import Deaths, OrphanedError
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
    """Rank and size of this process, its neighbours on the node, its share of the cores.

    Attributes:
        deaths: which ranks have died, where the others outlive that.
        hosts: of all ranks, on rank 0; empty elsewhere.
        neighbours: processes of the other ranks on this host, by rank.
        lost: ranks that nobody awaits any more, as they have died or hang; rank 0 alone knows all.
    """

    comm: MPI.Comm | None
    rank: int
    size: int
    host: str
    local_rank: int
    local_size: int
    cores: int
    deaths: Deaths
    hosts: Sequence[str] = ()
    neighbours: Mapping[int, int] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)

    def living(self) -> list[int]:
        """All ranks but those that are lost."""
        return [rank for rank in range(self.size) if rank not in self.lost]

    def broadcast(self, message: Any) -> Any:
        """What rank 0 says, on every rank; waiting costs no CPU.

        Raises:
            OrphanedError: on the other ranks, when rank 0 has died.
        """
        if self.comm is None:
            return message
        if self.rank == 0:
            others = (rank for rank in self.living() if rank)
            requests = [sent for rank in others for sent in self.send(message, rank, SET_UP_TAG)]
            _wait(lambda: all(map(self.has_left, requests)))
            return message
        for said in self._hear(0):
            return said
        raise OrphanedError

    def gather(self, message: Any) -> dict[int, Any]:
        """What each rank says that is not lost, on rank 0 (empty elsewhere); costs no CPU."""
        if self.comm is None:
            return {0: message}
        if self.rank != 0:
            for request in self.send(message, 0, SET_UP_TAG):
                _wait(lambda request=request: self.has_left(request) or self.is_lost(0))  # type: ignore
            return {}
        return {0: message} | {r: said for r in range(1, self.size) for said in self._hear(r)}

    def send(self, message: Any, rank: int, tag: int) -> list[Any]:
        """Begin to send something; the request, or nothing if that rank has just died."""
        assert self.comm is not None
        try:
            return [self.comm.isend(message, dest=rank, tag=tag)]
        except Exception as error:
            self.deaths.excuse(error)
            return []

    def has_left(self, request: Any) -> bool:
        """Whether what is being sent is on its way, or its receiver dead."""
        try:
            return bool(request.Test())
        except Exception as error:
            self.deaths.excuse(error)
            return True

    def _hear(self, rank: int) -> list[Any]:
        """The next thing that a rank says; nothing if it is lost."""
        assert self.comm is not None
        backoff = Backoff()
        while not self.is_lost(rank):
            try:
                if self.comm.iprobe(source=rank, tag=SET_UP_TAG):
                    return [self.comm.recv(source=rank, tag=SET_UP_TAG)]
            except Exception as error:
                self.deaths.excuse(error)
            backoff.sleep()
        return []

    def is_lost(self, rank: int) -> bool:
        """Whether nothing more will come from a rank."""
        self.lost.update(self.deaths.new())
        return rank in self.lost

    def leave(self, status: int) -> None:
        """At the end of a run: if ranks are lost, exit all others here, rank 0 with its status.

        MPI's own end would wait for them. Every rank must come here that has not been aborted.
        """
        if not self.deaths.survivable:
            if self.lost:
                self.abort(status)
            return
        lost = self.broadcast(self.lost)
        if not lost:
            return
        self._kill(lost)
        self.gather("left")
        _exit(status if self.rank == 0 else 0)

    def abort(self, status: int) -> NoReturn:
        """End every rank at once: one that dies alone would leave the others waiting.

        Nothing is cleaned up: an ordinary exit would wait for the batches in work, and some MPIs'
        Abort is one, in which HDF5 waits for all ranks to close their file. Where ranks outlive
        others, Abort ends one alone: so this one kills its host's, and those of other hosts see it.
        """
        if self.deaths.survivable:
            self._kill(self.neighbours)
        elif self.comm is not None and self.size > 1:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # kills without the interpreter's help
            signal.setitimer(signal.ITIMER_REAL, ABORT_SECONDS)
            self.comm.Abort(status)
        _exit(status)

    @staticmethod
    def exit(status: int) -> NoReturn:
        """End this rank at once, without MPI's own end; all ranks must, with the same status."""
        _exit(status)

    def _kill(self, ranks: Iterable[int]) -> None:
        for rank in ranks:
            if rank in self.neighbours and rank not in self.deaths.known:
                with suppress(OSError):
                    os.kill(self.neighbours[rank], signal.SIGKILL)


def _exit(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
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
    cores = len(os.sched_getaffinity(0))
    host = os.uname().nodename
    return World(None, 0, 1, host, 0, 1, cores, Deaths(None), [host])


def joined(comm: MPI.Comm) -> World:
    """The world of a communicator's ranks, which nobody else may use from then on."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    # A launcher may bind each rank to a core of its own or all of them to all cores.
    together = set().union(*node.allgather(os.sched_getaffinity(0)))
    processes = dict(node.allgather((comm.rank, os.getpid())))
    host = MPI.Get_processor_name()
    world = World(
        comm,
        comm.rank,
        comm.size,
        host,
        node.rank,
        node.size,
        cores=max(1, len(together) // node.size),
        deaths=Deaths(comm),
        hosts=comm.gather(host) or (),
        neighbours={rank: process for rank, process in processes.items() if rank != comm.rank},
    )
    node.Free()
    return world

"""How messages travel between the coordinator and its workers: MPI, and queues within rank 0."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, cast

from lossgrid.engine.backoff import Backoff
from lossgrid.engine.messages import ToCoordinator, ToWorker

if TYPE_CHECKING:
    from mpi4py import MPI

TAG = 1


class Link(Protocol):
    """A worker's end."""

    def send(self, message: ToCoordinator) -> None:
        """Tell the coordinator."""

    def receive(self, seconds: float) -> ToWorker | None:
        """The next message, waiting at most `seconds` for it; None if there is none."""


class MpiLink:
    """The end of a worker on a rank of its own."""

    def __init__(self, comm: MPI.Comm) -> None:
        self._comm = comm

    def send(self, message: ToCoordinator) -> None:
        """Tell rank 0."""
        self._comm.send(message, dest=0, tag=TAG)

    def receive(self, seconds: float) -> ToWorker | None:
        """The next message from rank 0, waiting at most `seconds` for it."""
        deadline = time.monotonic() + seconds
        backoff = Backoff()
        while not self._comm.iprobe(source=0, tag=TAG):
            if time.monotonic() >= deadline:
                return None
            backoff.sleep()
        return cast(ToWorker, self._comm.recv(source=0, tag=TAG))


class QueueLink:
    """The end of the worker that is a thread of rank 0."""

    def __init__(self) -> None:
        self.to_worker: SimpleQueue[ToWorker] = SimpleQueue()
        self.to_coordinator: SimpleQueue[ToCoordinator] = SimpleQueue()

    def send(self, message: ToCoordinator) -> None:
        """Tell the main thread."""
        self.to_coordinator.put(message)

    def receive(self, seconds: float) -> ToWorker | None:
        """The next message from the main thread, waiting at most `seconds` for it."""
        try:
            return self.to_worker.get(block=seconds > 0, timeout=seconds or None)
        except Empty:
            return None


class Hub:
    """The coordinator's end of all links.

    Args:
        comm: duplicated communicator, or None without MPI.
        local: link to rank 0's own evaluating thread, or None if it only coordinates.
    """

    def __init__(self, comm: MPI.Comm | None, local: QueueLink | None) -> None:
        self._comm = comm if comm is not None and comm.size > 1 else None
        self._local = local
        self._sending: list[Any] = []
        self._status = _new_status() if self._comm is not None else None
        remote = range(1, self._comm.size) if self._comm is not None else range(0)
        self.ranks = ([0] if local else []) + list(remote)

    def send(self, rank: int, message: ToWorker) -> None:
        """Tell a worker; never waits for it."""
        if rank == 0 and self._local is not None:
            self._local.to_worker.put(message)
        elif self._comm is not None:
            self._sending = [request for request in self._sending if not request.Test()]
            self._sending.append(self._comm.isend(message, dest=rank, tag=TAG))

    def receive(self, seconds: float) -> tuple[int, ToCoordinator] | None:
        """The next (rank, message), waiting at most `seconds` for it."""
        deadline = time.monotonic() + seconds
        backoff = Backoff()
        while True:
            found = self._poll()
            if found is not None or time.monotonic() >= deadline:
                return found
            if self._comm is None and self._local is not None:
                return self._wait_for_local(seconds)
            backoff.sleep()

    def _poll(self) -> tuple[int, ToCoordinator] | None:
        if self._local is not None and not self._local.to_coordinator.empty():
            return 0, self._local.to_coordinator.get()
        if self._comm is not None:
            message = self._comm.improbe(tag=TAG, status=self._status)
            if message is not None:
                assert self._status is not None
                return self._status.source, message.recv()
        return None

    def _wait_for_local(self, seconds: float) -> tuple[int, ToCoordinator] | None:
        assert self._local is not None
        try:
            return 0, self._local.to_coordinator.get(timeout=seconds)
        except Empty:
            return None

    def flush(self) -> None:
        """Wait until every message has left."""
        backoff = Backoff()
        while any(not request.Test() for request in self._sending):
            backoff.sleep()
        self._sending = []


def _new_status() -> MPI.Status:
    from mpi4py import MPI

    return MPI.Status()

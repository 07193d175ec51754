"""How messages travel between the coordinator and its workers: MPI, and queues within rank 0."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, cast

from lossgrid.engine.backoff import Backoff
from lossgrid.engine.deaths import OrphanedError
from lossgrid.engine.messages import ToCoordinator, ToWorker
from lossgrid.engine.world import World

if TYPE_CHECKING:
    from mpi4py import MPI

    from lossgrid.engine.groups import CarriedMail

TAG = 1
GROUP_TAG = 3
"""Of what the ranks of a group say to each other."""

MANY = 16
"""Messages that are being sent before it is looked which have left."""


class Link(Protocol):
    """A worker's end."""

    def send(self, message: ToCoordinator) -> None:
        """Tell the coordinator."""

    def receive(self, seconds: float) -> ToWorker | None:
        """The next message, waiting at most `seconds` for it; None if there is none."""


class MpiLink:
    """The end of a worker on a rank of its own.

    Raises:
        OrphanedError: from both methods, if rank 0 has died.
    """

    def __init__(self, world: World) -> None:
        assert world.comm is not None
        self._comm = world.comm
        self._world = world

    def send(self, message: ToCoordinator) -> None:
        """Tell rank 0."""
        try:
            self._comm.send(message, dest=0, tag=TAG)
        except Exception as error:
            self._world.deaths.excuse(error)
            raise OrphanedError from error

    def receive(self, seconds: float) -> ToWorker | None:
        """The next message from rank 0, waiting at most `seconds` for it."""
        deadline = time.monotonic() + seconds
        backoff = Backoff()
        try:
            while not self._comm.iprobe(source=0, tag=TAG):
                if self._world.is_lost(0):
                    raise OrphanedError
                if time.monotonic() >= deadline:
                    return None
                backoff.sleep()
            return cast(ToWorker, self._comm.recv(source=0, tag=TAG))
        except Exception as error:
            self._world.deaths.excuse(error)
            raise OrphanedError from error


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
        world: the ranks; those that are lost have no link.
        groups: the helpers of each rank that has a link, where it computes.
        local: link to rank 0's own evaluating thread, or None if it only coordinates.
        mail: of that thread with its helpers, which this carries; None if it has none.
    """

    def __init__(
        self,
        world: World,
        groups: Mapping[int, Sequence[int]],
        local: QueueLink | None,
        mail: CarriedMail | None = None,
    ) -> None:
        self._world = world
        self._comm = world.comm if world.comm is not None and world.size > 1 else None
        self._groups = groups
        self._local = local
        self._mail = mail
        self._sending: list[tuple[int, Any]] = []
        self._many = MANY
        self._receiving: list[tuple[int, Any]] = []
        self._arriving: list[tuple[int, Any]] = []
        self._status = _new_status() if self._comm is not None else None
        self.ranks = [rank for rank in groups if rank not in world.lost]

    def send(self, rank: int, message: ToWorker) -> None:
        """Tell a worker; never waits for it."""
        if rank == 0 and self._local is not None:
            self._local.to_worker.put(message)
        elif self._comm is not None and rank not in self._world.lost:
            self._sending += [(rank, sent) for sent in self._world.send(message, rank, TAG)]
            if len(self._sending) > self._many:  # seldom, as each time all are looked at
                has_left = self._world.has_left
                self._sending = [sent for sent in self._sending if not has_left(sent[1])]
                self._many = 2 * len(self._sending) + MANY

    def deaths(self) -> set[int]:
        """Ranks that have died since this was asked last, helpers among them."""
        dead = self._world.deaths.new() - self._world.lost
        self._world.lost.update(dead)
        return dead

    def leave_behind(self, rank: int) -> None:
        """Await nothing more of a rank and its helpers, here and in all that comes after."""
        self._world.lost.update((rank, *self._groups[rank]))

    def receive(self, seconds: float) -> tuple[int, ToCoordinator] | None:
        """The next (rank, message), waiting at most `seconds` for it."""
        deadline = time.monotonic() + seconds
        backoff = Backoff()
        while True:
            self._carry()
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
            try:
                message = self._comm.improbe(tag=TAG, status=self._status)
                if message is not None:
                    assert self._status is not None
                    return self._received(self._status.source, message.irecv())
                if self._receiving:
                    return self._received(*self._receiving.pop(0))
            except Exception as error:
                self._world.deaths.excuse(error)
        return None

    def _received(self, source: int, request: Any) -> tuple[int, ToCoordinator] | None:
        """A message that is on its way, once all of it is there: its sender may hang meanwhile."""
        there, message = request.test()
        if there:
            return source, message
        self._receiving.append((source, request))
        return None

    def _carry(self) -> None:
        """Send what rank 0's evaluating thread tells its helpers, and bring it what they tell."""
        if self._mail is None or self._comm is None:
            return
        while not self._mail.outgoing.empty():
            rank, message = self._mail.outgoing.get()
            if rank not in self._world.lost:
                self._sending += [
                    (rank, sent) for sent in self._world.send(message, rank, GROUP_TAG)
                ]
        try:
            message = self._comm.improbe(tag=GROUP_TAG, status=self._status)
            if message is not None:
                assert self._status is not None
                self._arriving.append((self._status.source, message.irecv()))
            for _ in range(len(self._arriving)):
                source, request = self._arriving.pop(0)  # for good, if its sender has died
                there, said = request.test()
                if there:
                    self._mail.deliver(source, said)
                else:
                    self._arriving.append((source, request))
        except Exception as error:
            self._world.deaths.excuse(error)

    def _wait_for_local(self, seconds: float) -> tuple[int, ToCoordinator] | None:
        assert self._local is not None
        try:
            return 0, self._local.to_coordinator.get(timeout=seconds)
        except Empty:
            return None

    def flush(self) -> None:
        """Wait until every message has left, but for those to ranks that are lost."""
        backoff = Backoff()
        lost, has_left = self._world.lost, self._world.has_left
        while any(rank not in lost and not has_left(request) for rank, request in self._sending):
            backoff.sleep()


def _new_status() -> MPI.Status:
    from mpi4py import MPI

    return MPI.Status()

"""Ranks that compute each point together: a leader, who is one worker, and its helpers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.backoff import Backoff
from lossgrid.engine.deaths import OrphanedError
from lossgrid.engine.links import GROUP_TAG, MpiLink
from lossgrid.engine.messages import Dismissed, Drop, Interrupted, Part, Share, Stop
from lossgrid.engine.pointset import Points
from lossgrid.engine.worker import Evaluator
from lossgrid.engine.world import World
from lossgrid.errors import DroppedError, OutOfMemoryError


class Divisible(Evaluator, Protocol):
    """An evaluator of which several, on as many ranks, can share the work of a point."""

    def part(self, points: Points, place: int, count: int, unwanted: Callable[[], bool]) -> Any:
        """The `place`-th of `count` parts of the work; raises as a call does."""

    def joined(self, points: Points, parts: Sequence[Any]) -> NDArray[np.float64]:
        """What a call returns, to the bit, out of all parts in their order."""


class Mail(Protocol):
    """How the ranks of a group reach each other."""

    def send(self, rank: int, message: Any) -> None:
        """Tell a rank; never waits for it."""

    def receive(self, rank: int) -> Any | None:
        """The next message from a rank; None if there is none."""

    def is_lost(self, rank: int) -> bool:
        """Whether nothing more will come from it."""


class MpiMail:
    """On a rank whose main thread computes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sending: list[tuple[int, Any]] = []

    def send(self, rank: int, message: Any) -> None:
        """See `Mail`."""
        self._sending += [(rank, sent) for sent in self._world.send(message, rank, GROUP_TAG)]

    def receive(self, rank: int) -> Any | None:
        """See `Mail`."""
        self._sending = [sent for sent in self._sending if not self._world.has_left(sent[1])]
        comm = self._world.comm
        assert comm is not None
        try:
            there = comm.iprobe(source=rank, tag=GROUP_TAG)
            return comm.recv(source=rank, tag=GROUP_TAG) if there else None
        except Exception as error:
            self._world.deaths.excuse(error)
            return None

    def is_lost(self, rank: int) -> bool:
        """See `Mail`."""
        return self._world.is_lost(rank)

    def flush(self) -> None:
        """Wait until every message has left, but for those to ranks that are lost."""
        backoff = Backoff()
        for rank, sent in self._sending:
            while not (self._world.has_left(sent) or self._world.is_lost(rank)):
                backoff.sleep()


class CarriedMail:
    """On the thread of rank 0 that computes: its main thread, which speaks MPI, carries it.

    Attributes:
        outgoing: (rank, message) to be sent.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.outgoing: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._arrived: dict[int, deque[Any]] = {}

    def send(self, rank: int, message: Any) -> None:
        """See `Mail`."""
        self.outgoing.put((rank, message))

    def deliver(self, rank: int, message: Any) -> None:
        """Called by the main thread with what has come."""
        self._arrived.setdefault(rank, deque()).append(message)

    def receive(self, rank: int) -> Any | None:
        """See `Mail`."""
        arrived = self._arrived.get(rank)
        return arrived.popleft() if arrived else None

    def is_lost(self, rank: int) -> bool:
        """See `Mail`; the main thread looks who has died."""
        return rank in self._world.lost


class Leader:
    """Evaluates points by sharing the work with other ranks.

    Who dies of these is done without. What a helper can't compute, the leader computes alone, so
    that a point fails as it does on one rank.

    Args:
        evaluator: of this rank.
        helpers: the other ranks of the group.
        mail: to them.
    """

    def __init__(self, evaluator: Divisible, helpers: Sequence[int], mail: Mail) -> None:
        self.columns = evaluator.columns
        self.points_per_pass = evaluator.points_per_pass
        self._evaluator = evaluator
        self._helpers = helpers
        self._mail = mail
        self._number = 0

    def __call__(self, points: Points, unwanted: Callable[[], bool]) -> NDArray[np.float64]:
        """See `Evaluator`."""
        while True:
            try:
                return self._evaluator.joined(points, self._parts(points, unwanted))
            except _LostError:
                continue
            except _UnableError:
                return self._evaluator(points, unwanted)

    def dismiss(self) -> None:
        """Let the helpers go, and wait until they have heard of it."""
        helpers = self._living()
        for rank in helpers:
            self._mail.send(rank, Stop())
        backoff = Backoff()
        for rank in helpers:
            while not self._mail.is_lost(rank):
                if isinstance(self._mail.receive(rank), Dismissed):
                    break
                backoff.sleep()

    def _parts(self, points: Points, unwanted: Callable[[], bool]) -> list[Any]:
        """What all have computed of points, in the order of their parts."""
        helpers = self._living()
        self._number += 1
        count = len(helpers) + 1
        for place, rank in enumerate(helpers, 1):
            self._mail.send(rank, Share(self._number, points, place, count))
        try:
            own = self._evaluator.part(points, 0, count, unwanted)
            return [own, *(self._part_of(rank, unwanted) for rank in helpers)]
        except BaseException:
            for rank in helpers:
                self._mail.send(rank, Drop())
            raise

    def _living(self) -> list[int]:
        return [rank for rank in self._helpers if not self._mail.is_lost(rank)]

    def _part_of(self, rank: int, unwanted: Callable[[], bool]) -> Any:
        """What a helper has computed of the present points."""
        backoff = Backoff()
        while True:
            message = self._mail.receive(rank)
            if isinstance(message, Part) and message.number == self._number:
                break
            if message is None and self._mail.is_lost(rank):
                raise _LostError
            if unwanted():
                raise DroppedError
            if message is None:
                backoff.sleep()
        if message.shortage is not None:
            raise OutOfMemoryError(message.shortage)
        if message.values is None:
            raise _UnableError
        return message.values


class _LostError(Exception):
    """A helper will not answer any more."""


class _UnableError(Exception):
    """A helper can't compute its part."""


class Helper:
    """Computes parts of points until its leader lets it go, or has died.

    Args:
        world: the ranks.
        leader: of this one.
        evaluator: of this rank.
        stopping: whether a signal asked this rank to stop.
    """

    def __init__(
        self, world: World, leader: int, evaluator: Divisible, stopping: Callable[[], bool]
    ) -> None:
        self._world = world
        self._leader = leader
        self._evaluator = evaluator
        self._signalled = stopping
        self._mail = MpiMail(world)
        self._next: Share | Drop | Stop | None = None
        self._told = False

    def run(self) -> None:
        """Help.

        Raises:
            OrphanedError: rank 0 has died.
        """
        while not isinstance(message := self._heard(), Stop):
            if message is None:
                return
            if isinstance(message, Share):
                self._compute(message)
        self._mail.send(self._leader, Dismissed())
        self._mail.flush()

    def _heard(self) -> Share | Drop | Stop | None:
        """The next message; None once the leader has died."""
        backoff = Backoff()
        while not self._listen():
            if self._mail.is_lost(0):
                raise OrphanedError
            if self._mail.is_lost(self._leader):
                return None
            backoff.sleep()
        message, self._next = self._next, None
        return message

    def _listen(self) -> bool:
        """Whether the leader has said something new, by which what is in work is unwanted."""
        if self._signalled() and not self._told:
            self._told = True
            MpiLink(self._world).send(Interrupted())
        if self._next is None:
            self._next = self._mail.receive(self._leader)
        return self._next is not None

    def _unwanted(self) -> bool:
        return self._listen() or self._mail.is_lost(self._leader)

    def _compute(self, share: Share) -> None:
        number, points, place, parts = share
        try:
            part = Part(number, self._evaluator.part(points, place, parts, self._unwanted))
        except DroppedError:
            return
        except OutOfMemoryError as error:
            part = Part(number, None, f"rank {self._world.rank}, which helps: {error}")
        except Exception:  # the leader finds out which, where it does not fail there
            part = Part(number, None)
        self._mail.send(self._leader, part)


def groups(ranks: Sequence[int], size: int) -> dict[int, Sequence[int]]:
    """Cut ranks into groups of neighbours: the helpers of each leader."""
    return {ranks[i]: ranks[i + 1 : i + size] for i in range(0, len(ranks), size)}

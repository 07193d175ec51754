"""What idle workers get when nothing is left to hand out: what others have in hand.

Each function serves all of them in one pass over the desks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import TypeVar

from lossgrid.engine.desk import Desks
from lossgrid.engine.sizing import ChunkSizer

WORTH_COPYING = 2.0
"""A chunk in work is given to an idle rank as well that needs less than 1 / this of its time."""

SOON_SECONDS = 0.01
"""What will be there by then is not worth a copy."""

RARELY = 10
"""Between two such passes lies so many times the time that the last one took."""

Place = tuple[int, int]
"""Rank and number of a chunk."""
Offer = TypeVar("Offer")


class Idle:
    """Workers that have nothing, and when it is time to give them of what others have.

    With many workers it takes time to look at all desks: it is not done for each that is idle.

    Attributes:
        ranks: of these workers.
    """

    def __init__(self) -> None:
        self.ranks: set[int] = set()
        self._waiting = False
        self._next = 0.0  # when the next pass may begin

    def add(self, rank: int) -> None:
        """A worker is idle that has not been served."""
        self.ranks.add(rank)
        self._waiting = True

    def discard(self, rank: int) -> None:
        """A worker is not idle."""
        self.ranks.discard(rank)

    def retry(self) -> None:
        """Serve all again: what others have may be worth a copy by now."""
        self._waiting = True

    def due_in(self) -> float:
        """Seconds until they are to be served; infinite if nobody waits for that."""
        if self._waiting and self.ranks:
            return max(self._next - time.monotonic(), 0.0)
        return float("inf")

    def served(self, began: float) -> None:
        """All have been given what there is, by a pass that began then."""
        now = time.monotonic()
        self._waiting, self._next = False, now + RARELY * (now - began)


def not_begun(desks: Desks, sizer: ChunkSizer, idle: Iterable[int]) -> list[tuple[int, Place]]:
    """Chunks to be withdrawn from their workers, those that would be begun last first.

    Args:
        desks: of all workers.
        sizer: knows their speeds.
        idle: workers that have nothing.

    Returns: pairs of an idle rank and the chunk that it is to have.
    """
    waiting = []
    for rank in desks.ahead:
        chunks = desks[rank].chunks
        first, *_, last = chunks
        if chunks[last].copy is None:
            waiting.append((sizer.estimate(rank, chunks[first].points.size), (rank, last)))
    waiting.sort(key=itemgetter(0), reverse=True)

    def may_have(rank: int, place: Place) -> bool:
        return desks.task(place).failed_on != rank

    return list(_matched(idle, (place for _, place in waiting), may_have))


def slow(
    desks: Desks, sizer: ChunkSizer, idle: Iterable[int], now: float
) -> list[tuple[int, Place]]:
    """Chunks that take their workers much longer than they would an idle one, longest first.

    Args:
        desks, sizer, idle: as above.
        now: by the clock of the `Lease`.

    Returns: pairs of an idle rank and the chunk that it is to compute as well.
    """
    quickest = sorted(idle, key=lambda rank: sizer.estimate(rank, 1))
    offers = []
    for rank in desks.busy if quickest else ():
        desk = desks[rank]
        for number, task in desk.chunks.items():
            expected = max(sizer.estimate(rank, task.points.size), now - desk.since)
            if task.copy is None and _is_worth(sizer, quickest[0], task.points.size, expected):
                offers.append((expected, (rank, number)))
    offers.sort(key=itemgetter(0), reverse=True)

    def may_have(rank: int, offer: tuple[float, Place]) -> bool:
        expected, place = offer
        task = desks.task(place)
        return task.failed_on != rank and _is_worth(sizer, rank, task.points.size, expected)

    return [(rank, place) for rank, (_, place) in _matched(quickest, offers, may_have)]


def _is_worth(sizer: ChunkSizer, idle: int, points: int, expected: float) -> bool:
    return expected > SOON_SECONDS + WORTH_COPYING * sizer.estimate(idle, points)


def _matched(
    idle: Iterable[int], offers: Iterable[Offer], may_have: Callable[[int, Offer], bool]
) -> Iterator[tuple[int, Offer]]:
    """Give each idle worker the next offer that it may have, until there are no more."""
    left = iter(offers)
    for rank in idle:
        for offer in left:
            if may_have(rank, offer):
                yield rank, offer
                break

"""How long a worker may be silent before it is taken for one that hangs."""

from __future__ import annotations

import time

from lossgrid.engine.desk import Desk

LEAST_SECONDS = 30.0
"""A machine may be busy with something else for as long."""

FIRST_SECONDS = 300.0
"""The same before a worker's first answer: until then it may compile, or read from a cold disk."""

FACTOR = 10.0
"""By which a worker must be slower than all that has been measured."""

LONGEST_STEP_SECONDS = 1.0
"""Rank 0 looks more often, unless it stood still itself, as others then may have."""


class Lease:
    """Measures how long workers take to answer, and tells which has taken much too long.

    An answer comes soon after the last one, however large the chunk is: as many seconds later as
    `ChunkSizer` says, half as many again, and one pass of points. So the longest silence that has
    ended so far, of any worker, says what is usual here: on this machine, with its load, for these
    points. Ten times that is not.

    Who is wrongly taken for hanging loses nothing but the chunk in hand, and is given others once
    it answers; the lease then is up to twice as long for all, as it may just be slow.

    Attributes:
        now: seconds in which the coordinator has listened.
        longest: that an answer has taken in time.
    """

    def __init__(self) -> None:
        self._seconds = LEAST_SECONDS
        self._clock = time.monotonic()
        self.now = 0.0
        self.longest = 0.0

    def tick(self) -> None:
        """Let the time pass in which the coordinator has listened; nobody is accused by other."""
        clock = time.monotonic()
        self.now += min(clock - self._clock, LONGEST_STEP_SECONDS)
        self._clock = clock

    def renew(self, desk: Desk) -> None:
        """Take in that a worker has answered."""
        silence = self.now - desk.since
        if desk.out is None:
            self.longest = max(self.longest, silence)
            self._seconds = max(self._seconds, FACTOR * silence)
        else:
            self._seconds = max(self._seconds, min(FACTOR * silence, 2 * self._seconds))
        desk.since = self.now
        desk.has_answered = True

    def is_over(self, desk: Desk) -> bool:
        """Whether a worker has been silent too long with something in hand."""
        least = 0.0 if desk.has_answered else FIRST_SECONDS
        return desk.has_work and self.now - desk.since > max(least, self._seconds)

"""Waiting that costs no CPU."""

from __future__ import annotations

import time

SHORTEST, LONGEST = 2e-5, 5e-3


class Backoff:
    """Sleeps that double from 20 microseconds to 5 milliseconds until something happens.

    MPI waits by spinning, which takes the cores from those who compute; polling with these
    sleeps costs under one per cent of a core.
    """

    def __init__(self) -> None:
        self._seconds = SHORTEST

    def sleep(self) -> None:
        """Wait a little longer than last time."""
        time.sleep(self._seconds)
        self._seconds = min(2 * self._seconds, LONGEST)

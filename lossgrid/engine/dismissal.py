"""The end of a job: workers are told to stop, and awaited for a while."""

from __future__ import annotations

import time

from lossgrid.engine.desk import Desks
from lossgrid.engine.links import Hub
from lossgrid.engine.messages import Stop
from lossgrid.exits import UNFINISHED

DISMISSAL_SECONDS = 30.0
"""After a stop, how long workers may take to leave their point and say bye."""

LEAVE_SECONDS = 4.5
"""The same after a signal: whoever sends one ends us soon by other means."""


class DesertedError(BaseException):
    """The job is to end, but some ranks don't answer: all must be aborted.

    Not an Exception, since nothing on the way out may wait for them, as closing a shared file does.

    Args:
        sentence: for people.
        status: with which all ranks exit.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Dismissal:
    """Has every worker leave its point and say bye.

    Args:
        hub: links to all workers.
        desks: of all workers.

    Attributes:
        has_begun: whether workers have been told; nothing more is handed out then.
    """

    def __init__(self, hub: Hub, desks: Desks) -> None:
        self._hub = hub
        self._desks = desks
        self._began = float("inf")
        self._asked = float("inf")  # when a signal was heard of
        self.has_begun = False

    def begin(self) -> None:
        """Tell all workers, once."""
        if not self.has_begun:
            self.has_begun = True
            self._began = time.monotonic()
            for rank in self._desks:
                self._hub.send(rank, Stop())

    def heed(self) -> None:
        """A signal has asked a rank to stop: all do, in time."""
        self._asked = min(self._asked, time.monotonic())
        self.begin()

    def is_late(self, allowance: float = 0.0) -> bool:
        """Whether workers have had enough time, and so many seconds more."""
        return time.monotonic() - self._began > DISMISSAL_SECONDS + allowance

    def leave_late(self) -> None:
        """After a signal, wait no longer for workers that are stuck in what can't be dropped.

        Raises:
            DesertedError: there are such.
        """
        if self._desks.present and time.monotonic() - self._asked >= LEAVE_SECONDS:
            late = ", ".join(map(str, sorted(self._desks.present)))
            raise DesertedError(
                f"stopped without rank {late}, still busy with one batch; what is "
                "stored is safe: run the same command again to go on",
                UNFINISHED,
            )

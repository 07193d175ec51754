"""Being asked to stop by a signal."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

GRACE_SECONDS = 2.0
"""How long the points in work have after a stop to be finished, before they are dropped."""


class StopRequest:
    """Whether SIGTERM, SIGINT or SIGUSR1 has come while there is something to bring to an end.

    A second SIGINT interrupts at once (`KeyboardInterrupt`), and so does any of these signals
    outside of `heeded`, where a run has nothing in hand that it would have to store.

    A context manager, for the main thread: handlers are put back at its end.

    Args:
        heard: the signals meant, if they are not all of these.
    """

    def __init__(self, heard: Sequence[signal.Signals] = ASKING) -> None:
        self._heard = heard
        self.signal: signal.Signals | None = None
        self._since = 0.0
        self._heeded = False
        self._previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """True once a signal has come."""
        return self.signal is not None

    def overdue(self) -> bool:
        """True once one has come so long ago that points in work are to be dropped."""
        return self.signal is not None and time.monotonic() - self._since >= GRACE_SECONDS

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """In which the run itself asks now and then whether a signal has come."""
        self._heeded = True
        try:
            yield
        finally:
            self._heeded = False

    def __enter__(self) -> StopRequest:
        for number in self._heard:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.signal is signal.SIGINT and number == signal.SIGINT
        if self.signal is None:
            self._since = time.monotonic()
        self.signal = signal.Signals(number)
        if again or not self._heeded:
            raise KeyboardInterrupt

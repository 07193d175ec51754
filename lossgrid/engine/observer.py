"""Who wants to know how a job goes."""

from __future__ import annotations

from typing import Protocol

from lossgrid.engine.desk import Out
from lossgrid.engine.messages import Result


class Observer(Protocol):
    """Who wants to know how the job goes."""

    def stored(self, results: list[Result]) -> None:
        """These results are in the file."""

    def out(self, rank: int, why: Out, message: str) -> None:
        """This rank gets no more points; of one at which all fail, with which message at last."""

    def back(self, rank: int) -> None:
        """A rank that was silent has answered."""

    def tick(self) -> None:
        """Called at least every half second or so while the job runs."""

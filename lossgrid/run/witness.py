"""Who is told how a run goes: people, and its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from lossgrid.engine.desk import Out
from lossgrid.run.progress import ProgressView
from lossgrid.run.rankevents import ANSWERS, RankEvent
from lossgrid.store.log import RunLog


class Witness:
    """Shows how a run goes, and records what happens to its ranks.

    Args:
        view: shows it.
        log: records it.
        hosts: of all ranks.
    """

    def __init__(self, view: ProgressView, log: RunLog, hosts: Sequence[str]) -> None:
        self._view = view
        self._log = log
        self._hosts = hosts
        self.stored = view.stored
        self.tick = view.tick

    def out(self, rank: int, why: Out, message: str = "") -> None:
        """This rank gets no more points."""
        happened = RankEvent(rank, self._hosts[rank], why.value, message)
        self._log.event("rank", **asdict(happened))
        self._view.out(rank, happened.text())

    def back(self, rank: int) -> None:
        """A rank that was silent has answered."""
        happened = RankEvent(rank, self._hosts[rank], ANSWERS)
        self._log.event("rank", **asdict(happened))
        self._view.back(rank, happened.text())

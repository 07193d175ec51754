"""What happens to the ranks of a run, as its log has it and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lossgrid.engine.desk import Out

ANSWERS = "answers"
"""What becomes of a rank that was silent."""

_WORDS = {
    Out.DEAD.value: "has died",
    Out.SILENT.value: "does not answer any more",
    Out.FAILING.value: "gets no more points, since all fail there",
    ANSWERS: "answers again",
}


@dataclass(frozen=True)
class RankEvent:
    """What has happened to a rank.

    Attributes:
        rank, host: which it was, and where.
        what: a value of `Out`, or ANSWERS.
        message: of the last point that has failed there, if that is why.
    """

    rank: int
    host: str
    what: str
    message: str = ""

    def text(self) -> str:
        """All of it for people."""
        said = f": {self.message}" if self.message else ""
        return f"rank {self.rank} on {self.host} {_WORDS.get(self.what, self.what)}{said}"


def lasting(events: Sequence[dict[str, Any]]) -> list[RankEvent]:
    """What became of the ranks that the last run in a log has lost, or did without at its end."""
    last: dict[int, RankEvent] = {}
    for event in events:
        if event["event"] == "start" and event.get("stage", 0) == 0:
            last.clear()
        if event["event"] == "rank":
            last[event["rank"]] = RankEvent(
                event["rank"], event["host"], event["what"], event["message"]
            )
    return [event for event in last.values() if event.what != ANSWERS]

"""How many points the next chunk of a rank holds."""

from __future__ import annotations

from collections import deque
from statistics import median

TARGET_SECONDS = 0.5
"""No chunk is meant to last longer, unless the coordinator could not keep up with that: it is what
a slow rank holds up. One that does, since the user chose its size or points differ, is sent in
parts that last about as long: a part is what a crash costs."""

LONGEST_SECONDS = 5.0
"""Nor longer than this in any case."""

BUSY = 0.5
"""Chunks are so long that the coordinator is busy with them for this share of its time at most."""

ROUNDS = 15
"""The latest of the coordinator's rounds, whose median says what an answer costs it."""

LARGEST = 4096
"""Points a chunk at most, so that messages stay small."""

IN_HAND = 2
"""Chunks a rank holds."""

SHARE = 4
"""A chunk is at most this fraction (1 / SHARE) of a rank's fair part of what remains, unless it is
too short then for the coordinator to keep up."""

SPEED_UNIT = 2**-60
"""Points a second. Speeds are whole numbers of it, so that their sum is exact however often they
change."""


class ChunkSizer:
    """Guided self-scheduling: large chunks first, single points last, by each rank's own speed.

    After Polychronopoulos and Kuck, "Guided self-scheduling", IEEE Trans. Computers 36 (1987),
    with a rank's part weighted by its measured speed, and no chunk so short that with so many ranks
    the coordinator would be busy for more than half of its time.

    Args:
        ranks: how many ranks compute.
        fixed: points a chunk when the user chose; None for the rule above.
        granule: points that the evaluator takes in one pass.

    Attributes:
        seconds: that a chunk lasts at most, and that ranks compute before they send a part of one.
    """

    def __init__(self, ranks: int, fixed: int | None = None, granule: int = 1) -> None:
        self._ranks = ranks
        self._fixed = fixed
        self._granule = granule
        self._seconds: dict[int, float] = {}
        self._speeds: dict[int, int] = {}
        self._speed = 0  # their sum
        self._costs: deque[float] = deque(maxlen=ROUNDS)
        self._least_seconds = 0.0
        self.seconds = TARGET_SECONDS

    def record(self, rank: int, points: int, seconds: float) -> None:
        """Learn that `rank` took `seconds` for `points` points (recent chunks weigh more)."""
        latest = max(seconds / points, 1e-9)
        known = self._seconds.get(rank, latest)
        self._seconds[rank] = mine = 0.5 * known + 0.5 * latest
        speed = int(1 / (SPEED_UNIT * mine))
        self._speed += speed - self._speeds.get(rank, 0)
        self._speeds[rank] = speed

    def pay(self, seconds: float) -> None:
        """Learn that in its latest round the coordinator took so many seconds an answer."""
        self._costs.append(seconds)
        self._least_seconds = min(self._ranks * median(self._costs) / BUSY, LONGEST_SECONDS)
        self.seconds = max(TARGET_SECONDS, self._least_seconds)

    def size(self, rank: int, remaining: int) -> int:
        """Points for the next chunk of `rank`, >= 1; one pass while its speed is unknown."""
        if self._fixed is not None:
            return self._fixed
        mine = self._seconds.get(rank)
        if mine is None:
            return self._granule
        fair = remaining * self._speeds[rank] * len(self._speeds) / (self._speed * self._ranks)
        least = self._least_seconds / mine
        least = min(least, max(fair, least * BUSY))  # in the end it may be busy all of its time
        wanted = int(min(max(fair / SHARE, least), self.seconds / mine, LARGEST))
        return max(1, wanted // self._granule) * self._granule

    def in_hand(self, rank: int) -> int:
        """Chunks that `rank` holds: one in work, one ahead, so that it never waits for an answer.

        One alone while its speed is unknown: the next is of another size.
        """
        return 1 if self._fixed is None and rank not in self._seconds else IN_HAND

    def estimate(self, rank: int, points: int) -> float:
        """Seconds that `rank` is expected to need; infinite for one that has never answered."""
        return points * self._seconds.get(rank, float("inf"))

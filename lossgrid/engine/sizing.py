"""How many points the next chunk of a rank holds."""

from __future__ import annotations

TARGET_SECONDS = 0.5
"""No chunk is meant to last longer: it is what a slow rank holds up. One that does, since the user
chose its size, is sent in parts that last about as long: a part is what a crash costs."""

LARGEST = 4096
"""Points a chunk at most, so that messages stay small."""

SHARE = 4
"""A chunk is at most this fraction (1 / SHARE) of a rank's fair part of what remains."""


class ChunkSizer:
    """Guided self-scheduling: large chunks first, single points last, by each rank's own speed.

    After Polychronopoulos and Kuck, "Guided self-scheduling", IEEE Trans. Computers 36 (1987),
    with a rank's part weighted by its measured speed.

    Args:
        ranks: how many ranks compute.
        fixed: points a chunk when the user chose; None for the rule above.
        granule: points that the evaluator takes in one pass.
    """

    def __init__(self, ranks: int, fixed: int | None = None, granule: int = 1) -> None:
        self._ranks = ranks
        self._fixed = fixed
        self._granule = granule
        self._seconds: dict[int, float] = {}

    def record(self, rank: int, points: int, seconds: float) -> None:
        """Learn that `rank` took `seconds` for `points` points (recent chunks weigh more)."""
        latest = max(seconds / points, 1e-9)
        known = self._seconds.get(rank, latest)
        self._seconds[rank] = 0.5 * known + 0.5 * latest

    def size(self, rank: int, remaining: int) -> int:
        """Points for the next chunk of `rank`, >= 1; one pass while its speed is unknown."""
        if self._fixed is not None:
            return self._fixed
        mine = self._seconds.get(rank)
        if mine is None:
            return self._granule
        speeds = sum(1 / seconds for seconds in self._seconds.values())
        speeds *= self._ranks / len(self._seconds)
        fair = remaining / (mine * speeds)
        wanted = int(min(fair / SHARE, TARGET_SECONDS / mine, LARGEST))
        return max(1, wanted // self._granule) * self._granule

    def estimate(self, rank: int, points: int) -> float:
        """Seconds that `rank` is expected to need; infinite for one that has never answered."""
        return points * self._seconds.get(rank, float("inf"))

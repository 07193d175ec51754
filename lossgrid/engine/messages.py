"""What coordinator and workers say to each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.pointset import Points

PENDING, DONE, FAILED, INTERPOLATED = 0, 1, 2, 3
"""Status of a point."""


class Chunk(NamedTuple):
    """Coordinator to worker: compute these points after what you have.

    What has been computed is to be sent once it has taken `seconds`.
    """

    number: int
    points: Points
    seconds: float


class Withdraw(NamedTuple):
    """Coordinator to worker: leave this chunk alone unless you have begun it."""

    number: int


class Ask(NamedTuple):
    """Coordinator to worker: say that you are there; what you had in hand is withdrawn."""


class Here(NamedTuple):
    """Worker to coordinator: as you have asked, I am."""


class Stop(NamedTuple):
    """Coordinator to worker: finish the point in hand, or drop it; send what is done, then Bye.

    Also leader to helper, which then says `Dismissed`.
    """


class Result(NamedTuple):
    """Worker to coordinator: points of a chunk, computed.

    `points` may be a part of those that the chunk held: the others follow, unless a stop came
    between. `values` is float64 of shape (n, columns), or None where the worker has stored them
    itself, which it does with points that are done. `status` (uint8), `seconds` (float32) have
    shape (n,); a point for which memory did not suffice is still PENDING. `errors` holds one
    (point, message) for each that is not done.
    """

    rank: int
    chunk: int
    points: Points
    values: NDArray[np.float64] | None
    status: NDArray[np.uint8]
    seconds: NDArray[np.float32]
    errors: list[tuple[int, str]]

    def part(self, which: slice | NDArray[np.bool_]) -> Result:
        """Some of the points, with all that is known of them."""
        points = self.points[which]
        kept = set(points.tolist()) if self.errors else ()
        return self._replace(
            points=points,
            values=None if self.values is None else self.values[which],
            status=self.status[which],
            seconds=self.seconds[which],
            errors=[error for error in self.errors if error[0] in kept],
        )


class Interrupted(NamedTuple):
    """Worker to coordinator: a signal asked me to stop, so stop everybody."""


class Crashed(NamedTuple):
    """Worker to coordinator: I can't go on; a user error is one that its sentence says to mend."""

    sentence: str
    user_error: bool


class Bye(NamedTuple):
    """Worker to coordinator: you have all I did; nothing more will come."""


class Share(NamedTuple):
    """Leader to helper: compute the `place`-th of so many parts of these points."""

    number: int
    points: Points
    place: int
    parts: int


class Drop(NamedTuple):
    """Leader to helper: what you have in work is not wanted any more."""


class Part(NamedTuple):
    """Helper to leader: my part of the points of a share, or what was said of a lack of memory.

    With neither, it has failed.
    """

    number: int
    values: Any | None
    shortage: str | None = None


class Dismissed(NamedTuple):
    """Helper to leader: I have heard of the stop; nothing more will come."""


ToWorker = Chunk | Withdraw | Ask | Stop
ToCoordinator = Result | Here | Interrupted | Crashed | Bye

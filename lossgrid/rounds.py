"""Rank 0's part of work that is done after the points, a piece on each rank at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
Found = TypeVar("Found")


class Rounds(Generic[Piece, Found]):
    """Hands out pieces of work, one for each rank, and stores what comes of them.

    What fails is told, and tried again by the next run.

    Args:
        pieces: what is to be done.
        write: stores what was found, by piece.
        fail: tells of a piece and why nothing came of it.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        write: Callable[[Mapping[Piece, Found]], None],
        fail: Callable[[Piece, str], None],
    ) -> None:
        self._waiting = list(pieces)
        self._handed: list[Piece] = []
        self._write = write
        self._fail = fail

    def next(self, ranks: int) -> list[Piece]:
        """A piece for each rank; fewer if no more are left."""
        self._handed, self._waiting = self._waiting[:ranks], self._waiting[ranks:]
        return self._handed

    def store(self, found: Sequence[tuple[Sequence[Found | str | None], bool]]) -> bool:
        """Store what the ranks have come to.

        Args:
            found: of each rank, what came of its piece (or why nothing did; None if it was dropped;
                nothing if it had none), and whether a signal asked it to stop.

        Returns: whether a signal asked any of them to stop.

        Raises:
            UserError: it can't be stored.
        """
        tried = [outcome for outcomes, _ in found for outcome in outcomes]
        known: dict[Piece, Found] = {}
        for piece, outcome in zip(self._handed, tried, strict=True):
            if isinstance(outcome, str):
                self._fail(piece, outcome)
            elif outcome is not None:
                known[piece] = outcome
        if known:
            self._write(known)
        return any(asked for _, asked in found)

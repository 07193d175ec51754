"""Rank 0's part of work that is done after the points, a piece on each rank at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
Found = TypeVar("Found")


class Rounds(Generic[Piece, Found]):
    """Hands out pieces of work, one for each rank, and stores what comes of them.

    What fails is told and stored as failed, and tried again by the next run.

    Args:
        pieces: what is to be done.
        write: stores what was found, by piece; None of those that have failed.
        fail: tells of a piece and why nothing came of it.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        write: Callable[[Mapping[Piece, Found | None]], None],
        fail: Callable[[Piece, str], None],
    ) -> None:
        self._waiting = list(pieces)
        self._handed: dict[int, Piece] = {}
        self._write = write
        self._fail = fail

    def next(self, ranks: Sequence[int]) -> dict[int, Piece]:
        """A piece for each of some ranks; for fewer if no more are left."""
        self._handed = dict(zip(ranks, self._waiting, strict=False))
        self._waiting = self._waiting[len(self._handed) :]
        return self._handed

    def store(self, found: Mapping[int, tuple[Sequence[Found | str | None], bool]]) -> bool:
        """Store what the ranks have come to; the piece that a rank has died with waits again.

        Args:
            found: by rank, what came of its piece (or why nothing did; None if it was dropped;
                nothing if it had none), and whether a signal asked it to stop.

        Returns: whether a signal asked any of them to stop.

        Raises:
            UserError: it can't be stored.
        """
        known: dict[Piece, Found | None] = {}
        for rank, piece in self._handed.items():
            if rank not in found:
                self._waiting.append(piece)
                continue
            (outcome,), _ = found[rank]
            if isinstance(outcome, str):
                self._fail(piece, outcome)
                known[piece] = None
            elif outcome is not None:
                known[piece] = outcome
        if known:
            self._write(known)
        return any(asked for _, asked in found.values())

"""How a split is cut into batches of one shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A rank among those that compute each point together, and among those that use its GPU.

    Attributes:
        place: from 0 on, of those that compute a point together.
        count: how many these are.
        sharers: how many use its memory.
    """

    place: int = 0
    count: int = 1
    sharers: int = 1


@dataclass(frozen=True)
class Batch:
    """Samples [begin, end) of a split's pass, of which those from `fresh` on are new.

    The last batch is filled up with samples of the one before it, such that all batches of a split
    have one shape and so the same kernels, whose bits may depend on it.
    """

    begin: int
    fresh: int
    end: int


def batches(samples: int, size: int) -> Iterator[Batch]:
    """Cut a split into batches of `min(size, samples)` samples each."""
    size = min(size, samples)
    for fresh in range(0, samples, size):
        end = min(fresh + size, samples)
        yield Batch(end - size, fresh, end)


def shared(splits: Sequence[Sequence[Batch]], place: int, count: int) -> list[Sequence[Batch]]:
    """The batches of each split that fall to the `place`-th of `count` evaluators.

    They are neighbours, and no evaluator has more than one batch more than another.
    """
    total = sum(map(len, splits))
    begin, end = total * place // count, total * (place + 1) // count
    found = []
    for split in splits:
        found.append(split[max(begin, 0) : max(end, 0)])
        begin, end = begin - len(split), end - len(split)
    return found

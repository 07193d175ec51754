"""Steps that all ranks take together, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from lossgrid.engine.world import World
from lossgrid.errors import OutOfMemoryError, UserError

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(Exception):
    """Rank 0 has stopped the job, and says why; the other ranks just end."""


def led(world: World, make: Callable[[], T]) -> T:
    """What rank 0 makes, on every rank.

    Raises:
        OutOfMemoryError: on all ranks, when it fails so on rank 0.
        StoppedError: on the other ranks, when it fails otherwise there, where its own error is
            raised.
    """
    if world.rank != 0:
        answer: tuple[Exception | None, T] = world.broadcast(None)
        failure, value = answer
        if failure is not None:
            raise failure
        return value
    try:
        value = make()
    except Exception as error:  # after anything else, such as an interrupt, all ranks are aborted
        short = isinstance(error, OutOfMemoryError)
        world.broadcast((OutOfMemoryError(str(error)) if short else StoppedError(), None))
        raise
    world.broadcast((None, value))
    return value


def each(world: World, make: Callable[[], T], report: Callable[[T], R]) -> tuple[T, dict[int, R]]:
    """What every rank makes for itself, and on rank 0 a report of each that is not lost.

    Raises:
        UserError: on rank 0, the sentence of the first rank that failed, with its name and host; of
            rank 0 without them, unless it is of memory, which hosts need not have alike.
        OutOfMemoryError: on all ranks, when memory is all that any of them lacked.
        StoppedError: on the other ranks, when any of them failed otherwise.
    """
    made: list[T] = []
    failure = None
    try:
        made.append(make())
    except UserError as error:
        failure = (isinstance(error, OutOfMemoryError), str(error))
    answers = world.gather((world.host, failure, [report(mine) for mine in made]))
    led(world, lambda: _check(answers))
    return made[0], {rank: said for rank, (_, _, reports) in answers.items() for said in reports}


def _check(answers: Mapping[int, tuple[str, tuple[bool, str] | None, list[R]]]) -> None:
    failures = [
        (short, f"rank {rank} on {host}: {sentence}" if rank or short else sentence)
        for rank, (host, failure, _) in answers.items()
        if failure is not None
        for short, sentence in [failure]
    ]
    if failures:  # what only the user can mend comes first
        short, sentence = min(failures, key=lambda failure: failure[0])
        raise OutOfMemoryError(sentence) if short else UserError(sentence)

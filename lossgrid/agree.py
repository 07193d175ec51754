"""Steps that all ranks take together, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lossgrid.engine.world import World
from lossgrid.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(Exception):
    """Rank 0 has stopped the job, and says why; the other ranks just end."""


def led(world: World, make: Callable[[], T]) -> T:
    """What rank 0 makes, on every rank.

    Raises:
        StoppedError: on the other ranks, when it fails on rank 0, where its own error is raised.
    """
    if world.rank != 0:
        answer: tuple[bool, T] = world.broadcast(None)
        made, value = answer
        if not made:
            raise StoppedError
        return value
    try:
        value = make()
    except Exception:  # after anything else, such as an interrupt, all ranks are aborted
        world.broadcast((False, None))
        raise
    world.broadcast((True, value))
    return value


def each(world: World, make: Callable[[], T], report: Callable[[T], R]) -> tuple[T, list[R]]:
    """What every rank makes for itself, and on rank 0 a report of each.

    Raises:
        UserError: on rank 0, the sentence of the first rank that failed, with its name and host.
        StoppedError: on the other ranks, when any of them failed.
    """
    made: list[T] = []
    sentence = None
    try:
        made.append(make())
    except UserError as error:
        sentence = str(error)
    answers = world.gather((world.host, sentence, [report(mine) for mine in made]))
    led(world, lambda: _check(answers))
    return made[0], [said for _, _, reports in answers for said in reports]


def _check(answers: list[tuple[str, str | None, list[R]]]) -> None:
    for rank, (host, sentence, _) in enumerate(answers):
        if sentence is not None:
            where = f"rank {rank} on {host}: " if rank else ""
            raise UserError(where + sentence)

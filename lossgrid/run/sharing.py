"""What one rank a node loads for all: they map its memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lossgrid.engine.world import World
from lossgrid.errors import OutOfMemoryError, summary
from lossgrid.job import Job
from lossgrid.problem import inside, load_callable
from lossgrid.run.agree import each, led
from lossgrid.run.load import Common, Loaded, load
from lossgrid.shortage import fitting
from lossgrid.space import Principal
from lossgrid.store.writer import parallel_hdf5


@dataclass(frozen=True)
class Report:
    """What a rank tells once it has loaded.

    Attributes:
        made_of: its fingerprint.
        parallel: whether it may write results in parallel.
        apart: why it has loaded for itself what another of its node has in memory; none if it has
            not.
    """

    made_of: dict[str, str]
    parallel: bool
    apart: str | None


@dataclass(frozen=True)
class Offer:
    """Where a node's first rank has what it has loaded for the others, or why they can't have it.

    Attributes:
        path: of a file that is memory, as long as that rank holds it open.
        refusal: why there is none.
    """

    path: str = ""
    refusal: str = ""


def load_together(
    job: Job, world: World, principal: Principal | None, parallel: bool
) -> tuple[Loaded, dict[int, Report]]:
    """Load the job's parts on every rank, those that are large and only read once a node.

    Args:
        job: what to compute.
        world: the ranks.
        principal: see `load`.
        parallel: whether ranks may write results in parallel, if they can.

    Returns: this rank's, and on rank 0 what all tell.

    Raises: see `each`.
    """
    first = min((world.rank, *world.neighbours))
    with _shared_memory() as memory:

        def offered() -> tuple[Loaded, Offer] | None:
            return _offered(job, world, principal, memory) if world.rank == first else None

        mine, offers = each(world, offered, lambda mine: mine[1] if mine else Offer())
        offer = led(world, lambda: offers).get(first, Offer(refusal=f"rank {first} has died"))
        (loaded, _), reports = each(
            world,
            lambda: (mine[0], None) if mine else _taken(job, world, principal, offer),
            lambda taken: Report(taken[0].fingerprint, parallel and parallel_hdf5(), taken[1]),
        )
    return loaded, reports


@contextmanager
def _shared_memory() -> Iterator[int]:
    """A file without a name: it is gone when nobody has it open or mapped, however that ends."""
    memory = os.memfd_create("lossgrid")
    try:
        yield memory
    finally:
        os.close(memory)


def _offered(
    job: Job, world: World, principal: Principal | None, memory: int
) -> tuple[Loaded, Offer]:
    """Load everything, and move what the others of the node need as well to where they reach it."""
    loaded = load(job, world, principal)
    if not world.neighbours:
        return loaded, Offer()
    path = f"/proc/{os.getpid()}/fd/{memory}"
    try:
        with fitting("what the ranks of a node share"), open(memory, "wb", closefd=False) as file:
            torch.save(loaded.common(), file)
        return loaded.having(_mapped(path)), Offer(path)
    except OutOfMemoryError:
        raise
    except Exception as error:  # whatever a user's factory has made need not be plain data
        return loaded, Offer(refusal=summary(error))


def _taken(
    job: Job, world: World, principal: Principal | None, offer: Offer
) -> tuple[Loaded, str | None]:
    """What this rank makes of an offer, and why it has loaded all of it for itself, if it has."""
    refusal = offer.refusal
    if offer.path:
        try:
            for spec in job.data.values():
                load_callable(spec.factory, job.folder)  # what it makes may be of its own classes
            with inside(job.folder):
                common = _mapped(offer.path)
        except Exception as error:
            refusal = summary(error)
        else:
            return load(job, world, principal, common), None
    return load(job, world, principal), refusal


def _mapped(path: str) -> Common:
    """What a file holds, read page by page as it is needed; who writes into it has a copy."""
    common: Common = torch.load(path, mmap=True, weights_only=False)
    return common

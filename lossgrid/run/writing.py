"""Whether all ranks write the results file, or rank 0 for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lossgrid.engine.world import World
from lossgrid.errors import UserError
from lossgrid.job import Job
from lossgrid.store.disk import filesystem

REMOTE = ("nfs", "nfs4", "cifs", "smb3")
"""File systems where nodes see each other's bytes late, or write whole pages over them."""


def in_parallel(
    job: Job, world: World, able: Sequence[bool], say: Callable[[str], None] = lambda _: None
) -> bool:
    """Whether all ranks write.

    Args:
        job: what to compute.
        world: the ranks.
        able: whether each could.
        say: told why they don't where they could.

    Raises:
        UserError: they can't, and the job insists.
    """
    asked = job.runtime.writer
    refines = job.grid.refine is not None  # rank 0 reads what others have just written
    survivable = world.deaths.survivable  # those who share a file can't lose a rank
    if asked == "parallel":
        _insist(job, refines, survivable, all(able) and world.comm is not None)
        return True
    if asked == "coordinator" or refines or survivable or not all(able) or world.size == 1:
        return False
    kind = filesystem(job.output)
    if kind in REMOTE:
        say(
            f"rank 0 writes for all: {job.output} is on {kind}, where ranks of several nodes can't "
            "safely write one file"
        )
    return kind not in REMOTE


def _insist(job: Job, refines: bool, survivable: bool, able: bool) -> None:
    where = f"{job.path}: runtime.writer: parallel"
    if refines:
        raise UserError(f"{where} does not go with grid.refine; leave one of them out")
    if survivable:
        raise UserError(
            f"{where} does not go with mpirun --with-ft, by which a run outlives its ranks; leave "
            "one of them out"
        )
    if not able:
        raise UserError(
            f"{where} needs an h5py built with MPI on every rank, under mpirun; install one "
            "('lossgrid doctor' says how) or leave it on auto"
        )

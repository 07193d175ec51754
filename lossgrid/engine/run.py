"""One rank's part of a job: coordinate, compute, or both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import cast

from lossgrid.engine.chunks import ChunkQueue
from lossgrid.engine.coordinator import Coordinator, Ending
from lossgrid.engine.groups import CarriedMail, Divisible, Helper, Leader, Mail, MpiMail, groups
from lossgrid.engine.links import Hub, Link, MpiLink, QueueLink
from lossgrid.engine.observer import Observer
from lossgrid.engine.pointset import PointSet
from lossgrid.engine.sizing import ChunkSizer
from lossgrid.engine.worker import Evaluator, Sink, Worker
from lossgrid.engine.world import World


def coordinate(
    world: World,
    evaluator: Evaluator,
    computes: bool,
    shape: tuple[int, int],
    pending: PointSet,
    chunk: int | None,
    sink: Sink,
    observer: Observer,
    stopping: Callable[[], bool],
    no_smaller: str | None = None,
    ranks_per_worker: int = 1,
) -> Ending:
    """Rank 0: hand out the pending points and have them stored, until all are done.

    The main thread speaks MPI and HDF5; rank 0's own share is computed on a thread beside it.

    Args:
        world: the ranks.
        evaluator: rank 0's own, like all others.
        computes: whether rank 0 computes as well.
        shape: (ny, nx) of the grid; a line is (1, nx).
        pending: what is to be computed.
        chunk: points a chunk; None for guided sizes.
        sink, observer, stopping, no_smaller: see `Coordinator`.
        ranks_per_worker: how many compute each point together.

    Raises: see `Coordinator.run`.
    """
    local = QueueLink() if computes and 0 not in world.lost else None
    mail = CarriedMail(world)
    helpers = _helpers(world, computes, ranks_per_worker)
    hub = Hub(world, helpers, local, mail if helpers.get(0) else None)
    sizer = ChunkSizer(len(hub.ranks), chunk, evaluator.points_per_pass)
    queue = ChunkQueue(shape, pending)
    thread = None
    if local is not None:
        worker = _worker(0, local, evaluator, helpers[0], mail)
        thread = threading.Thread(target=worker.run, name="evaluate", daemon=True)
        thread.start()
    ending = Coordinator(hub, queue, sizer, sink, observer, stopping, no_smaller).run()
    if thread is not None and 0 not in world.lost:
        thread.join()
    return ending


def work(
    world: World,
    evaluator: Evaluator,
    sink: Sink | None,
    stopping: Callable[[], bool],
    computes: bool = True,
    ranks_per_worker: int = 1,
) -> None:
    """Every other rank: compute chunks until rank 0 says stop, or help the rank that does."""
    helpers = _helpers(world, computes, ranks_per_worker)
    if world.rank in helpers:
        link, mail = MpiLink(world), MpiMail(world)
        _worker(world.rank, link, evaluator, helpers[world.rank], mail, stopping, sink).run()
        return
    leader = max(rank for rank in helpers if rank < world.rank)
    Helper(world, leader, cast(Divisible, evaluator), stopping).run()


def _helpers(world: World, computes: bool, ranks_per_worker: int) -> dict[int, Sequence[int]]:
    """Those of each rank that is a worker."""
    return groups(range(0 if computes else 1, world.size), ranks_per_worker)


def _worker(
    rank: int,
    link: Link,
    evaluator: Evaluator,
    helpers: Sequence[int],
    mail: Mail,
    stopping: Callable[[], bool] = lambda: False,
    sink: Sink | None = None,
) -> Worker:
    if not helpers:
        return Worker(rank, link, evaluator, stopping, sink)
    leader = Leader(cast(Divisible, evaluator), helpers, mail)
    return Worker(rank, link, leader, stopping, sink, leader.dismiss)

"""One rank's part of a job: coordinate, compute, or both."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lossgrid.engine.chunks import ChunkQueue
from lossgrid.engine.coordinator import Coordinator, Ending, Observer
from lossgrid.engine.links import Hub, MpiLink, QueueLink
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

    Raises: see `Coordinator.run`.
    """
    local = QueueLink() if computes and 0 not in world.lost else None
    hub = Hub(world, local)
    sizer = ChunkSizer(len(hub.ranks), chunk, evaluator.points_per_pass)
    queue = ChunkQueue(shape, pending)
    thread = None
    if local is not None:
        thread = threading.Thread(
            target=Worker(0, local, evaluator).run, name="evaluate", daemon=True
        )
        thread.start()
    ending = Coordinator(hub, queue, sizer, sink, observer, stopping, no_smaller).run()
    if thread is not None and 0 not in world.lost:
        thread.join()
    return ending


def work(
    world: World, evaluator: Evaluator, sink: Sink | None, stopping: Callable[[], bool]
) -> None:
    """Every other rank: compute chunks until rank 0 says stop."""
    Worker(world.rank, MpiLink(world), evaluator, stopping, sink).run()

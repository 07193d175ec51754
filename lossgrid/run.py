"""`lossgrid run`: compute what is pending of a job, on every rank that a launcher started."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lossgrid.agree import StoppedError, each, led
from lossgrid.engine import world as worlds
from lossgrid.engine.run import work
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.world import World
from lossgrid.errors import RunFailedError, UserError
from lossgrid.job import Job
from lossgrid.lead import UNFINISHED, Lead, Order
from lossgrid.prepare import Prepared, prepare
from lossgrid.store.writer import PointWriter, parallel_hdf5


def run(path: Path, overrides: Sequence[str] = (), overwrite: bool = False) -> int:
    """Take this rank's part in a job.

    Args:
        path: of the job file.
        overrides: "key.path=value" settings.
        overwrite: start anew, even if there are results.

    Returns: the exit status (see `lossgrid.lead`); 0 on every rank but the first.

    Raises:
        UserError: on rank 0 alone, for all ranks.
        RunFailedError: likewise.
    """
    world = worlds.start()
    try:
        with ExitStack() as stack, StopRequest() as stopping:
            if world.rank == 0:
                lead = Lead(world, stack, stopping)
                return _take_part(world, stopping, lead, path, overrides, overwrite)
            _take_part(world, stopping, None, path, overrides, overwrite)
            return 0
    except StoppedError:
        return 0
    except (UserError, RunFailedError):
        raise
    except KeyboardInterrupt:  # the second SIGINT: at once, whatever is under way
        world.abort(UNFINISHED)
        os._exit(UNFINISHED)  # an ordinary exit would wait for the batches in work
    except BaseException:
        traceback.print_exc()
        print(f"lossgrid: rank {world.rank} on {world.host} failed", file=sys.stderr, flush=True)
        world.abort(1)
        raise


def _take_part(
    world: World,
    stopping: StopRequest,
    lead: Lead | None,
    path: Path,
    overrides: Sequence[str],
    overwrite: bool,
) -> int:
    """The steps of a run; whatever rank 0 decides or fails at, all ranks learn."""
    job, stored = led(world, lambda: _of(lead).begin(path, overrides, overwrite))
    prepared, reports = each(
        world,
        lambda: prepare(job, world, stored),
        lambda prepared: (prepared.fingerprint, parallel_hdf5()),
    )
    order = led(world, lambda: _of(lead).decide(prepared, reports))
    if lead is None and order.compute:
        _work(world, job, prepared, order, stopping)
    return led(world, lambda: _of(lead).compute(prepared, order))


def _work(world: World, job: Job, prepared: Prepared, order: Order, stopping: StopRequest) -> None:
    """Compute as a worker; with parallel HDF5, store as well."""
    if not order.parallel:
        work(world, prepared.evaluator, None, stopping)
        return
    columns, seconds = prepared.evaluator.columns, job.runtime.sync_seconds
    with PointWriter(job.output, columns, seconds, world.comm) as writer:
        work(world, prepared.evaluator, writer, stopping)


def _of(lead: Lead | None) -> Lead:
    assert lead is not None  # `led` calls this on rank 0 alone
    return lead

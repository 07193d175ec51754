"""`lossgrid run`: compute what is pending of a job, on every rank that a launcher started."""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import numpy as np

from lossgrid.engine import world as worlds
from lossgrid.engine.coordinator import Ending
from lossgrid.engine.deaths import OrphanedError
from lossgrid.engine.dismissal import DesertedError
from lossgrid.engine.run import work
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.world import World
from lossgrid.errors import OutOfMemoryError, RunFailedError, UserError
from lossgrid.evaluate import Checked, Plan
from lossgrid.exits import BROKE_DOWN, COMPLETE, UNFINISHED, status_of
from lossgrid.job import Job, read_job
from lossgrid.run.agree import StoppedError, each, led
from lossgrid.run.load import Loaded, free_memory
from lossgrid.run.order import Order
from lossgrid.run.prepare import Prepared, equip
from lossgrid.run.rounds import Found, Piece, Rounds
from lossgrid.run.sharing import load_together
from lossgrid.store.disk import check_writable
from lossgrid.store.samples import SampleFile
from lossgrid.store.writer import PointWriter
from lossgrid.streams import unfailing

if TYPE_CHECKING:
    from lossgrid.run.lead import Lead

T = TypeVar("T")

TURN_SECONDS, ORPHANS = 0.5, 10
"""How long each rank lets the one before it tell of rank 0's death and end all; for how many."""


class AbandonedError(BaseException):
    """A file that the ranks share is left open after a failure, its cause: all must exit at once.

    Not an Exception, since nothing on the way out may wait for other ranks.
    """


@unfailing()
def run(path: Path, overrides: Sequence[str] = (), overwrite: bool = False) -> int:
    """Take this rank's part in a job.

    Args:
        path: of the job file.
        overrides: "key.path=value" settings.
        overwrite: start anew, even if there are results.

    Returns: the exit status (see `lossgrid.exits`); 0 on every rank but the first.

    Raises:
        UserError: on rank 0 alone, for all ranks.
        RunFailedError: likewise.
    """
    world = worlds.start()
    try:
        status = _status(world, lambda: read_job(path, overrides), overwrite)
        world.leave(status)
        return status
    except (UserError, RunFailedError) as error:
        if world.lost:
            print(f"lossgrid: {error}", file=sys.stderr, flush=True)
        world.leave(status_of(error))
        raise
    except AbandonedError as left:
        _exit_together(world, left.__cause__)
    except OrphanedError:
        try:
            time.sleep(min(world.rank - 1, ORPHANS) * TURN_SECONDS)  # one sentence will do
            said = "rank 0 has died; what is stored is safe: run the same command again to go on"
            print(f"lossgrid: {said}", file=sys.stderr, flush=True)
        finally:
            world.abort(BROKE_DOWN)
    except DesertedError as error:
        try:
            print(f"lossgrid: {error}", file=sys.stderr, flush=True)
        finally:  # also when interrupted
            world.abort(error.status)
    except KeyboardInterrupt:  # a signal while nothing is in hand, or the second SIGINT: at once
        try:
            if world.rank == 0:
                said = "stopped at once; run the same command again to go on"
                print(f"lossgrid: {said}", file=sys.stderr, flush=True)
        finally:
            world.abort(UNFINISHED)
    except BaseException:
        try:
            traceback.print_exc()
            rank = f"rank {world.rank} on {world.host}"
            print(f"lossgrid: {rank} failed", file=sys.stderr, flush=True)
        finally:
            if world.size > 1:
                world.abort(1)
        raise


def _status(world: World, read: Callable[[], Job], overwrite: bool) -> int:
    """Take part; the exit status of this rank."""
    with ExitStack() as stack, StopRequest() as stopping:
        if world.rank == 0:
            return _lead(world, stack, stopping, read, overwrite)
        with suppress(StoppedError, OutOfMemoryError):  # which rank 0 tells of
            take_part(world, stopping, None)
        return 0


def _lead(
    world: World,
    stack: ExitStack,
    stopping: StopRequest,
    read: Callable[[], Job],
    overwrite: bool,
) -> int:
    """Rank 0's part, told on the terminal."""
    from rich.console import Console  # only rank 0 needs this and what Lead needs of memory

    from lossgrid.run.ending import draw
    from lossgrid.run.lead import Lead

    console = Console(stderr=True, soft_wrap=True)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    lead = Lead(world, stack, stopping, read, overwrite, console, say)
    status = take_part(world, stopping, lead)
    if status == COMPLETE:
        draw(lead.results, say)
    return status


def take_part(world: World, stopping: StopRequest, lead: Lead | None) -> int:
    """The steps of a run; whatever rank 0 decides or fails at, all ranks learn.

    Args:
        world: the ranks.
        stopping: whether a signal has asked to stop.
        lead: what only rank 0 has.

    Returns: the exit status (see `lossgrid.exits`).

    Raises:
        UserError: on rank 0 alone, for all ranks.
        RunFailedError: likewise.
        StoppedError: on the other ranks, then.
        AbandonedError: on all ranks, instead of these.
        OutOfMemoryError: on all ranks.
        DesertedError: some ranks don't answer, so that all must be aborted.
        OrphanedError: on the other ranks, when rank 0 has died.
        KeyboardInterrupt: a signal while nothing is in hand, or a second SIGINT.
    """
    job, stored, parallel = led(world, lambda: _of(lead).begin())
    principal = led(world, lambda: _of(lead).find_components())
    loaded, reports = load_together(job, world, principal, parallel)
    _, rooms = each(world, lambda: free_memory(loaded), lambda room: room)
    checked = led(world, lambda: _of(lead).choose(loaded, stored, reports, min(rooms.values())))
    while True:
        try:
            return _follow(world, stopping, lead, job, loaded, checked)
        except OutOfMemoryError as error:
            shortage = str(error)
        if stopping():  # what could be stored is
            raise KeyboardInterrupt
        gc.collect()  # evaluators, whose graphs hold themselves
        checked = _choose_smaller(world, lead, loaded, checked.plan, shortage)


def _follow(
    world: World,
    stopping: StopRequest,
    lead: Lead | None,
    job: Job,
    loaded: Loaded,
    checked: Checked,
) -> int:
    """The steps of a run by one plan.

    Raises:
        OutOfMemoryError: on all ranks, since any of them needs a smaller one to go on.
    """
    prepared, _ = each(world, lambda: equip(job, loaded, checked), lambda _: None)
    order = led(world, lambda: _of(lead).decide(prepared))
    with stopping.heeded():
        unfinished = order.compute and _compute(world, stopping, lead, job, prepared, order)
        if prepared.plan.is_low:
            unfinished = _compare(world, stopping, lead, prepared, order, unfinished)
        smallest = order.no_smaller is not None
        unfinished = unfinished or _in_rounds(
            world,
            stopping,
            lambda: _of(lead).checkpoints,
            lambda one: prepared.try_checkpoint(one.path, stopping, smallest),
        )
        unfinished = unfinished or _in_rounds(
            world,
            stopping,
            lambda: _of(lead).probes,
            lambda one: prepared.try_probe((one.alpha, one.beta), one.number, stopping, smallest),
        )
        return led(world, lambda: _of(lead).conclude(unfinished))


def _choose_smaller(
    world: World, lead: Lead | None, loaded: Loaded, plan: Plan, shortage: str
) -> Checked:
    return led(world, lambda: _of(lead).choose_smaller(loaded, plan, shortage))


def _compute(
    world: World,
    stopping: StopRequest,
    lead: Lead | None,
    job: Job,
    prepared: Prepared,
    order: Order,
) -> bool:
    """Compute and store what is pending; whether some of it was left."""
    if order.parallel:  # a rank that failed to open the file would leave the others waiting
        each(world, lambda: check_writable(job.output), lambda _: None)
    writer, _ = each(world, lambda: _writer(world, job, prepared, order), lambda _: None)
    ending = Ending(False)
    with _closed_together(world, writer, order.parallel):
        led(world, lambda: _of(lead).begin_computing(prepared, _of(writer)))
        while led(world, lambda: _of(lead).computing.next_stage(_of(writer))):
            with _open_together(world, prepared.samples, order.owner):
                if lead is None:
                    shared, together = job.runtime.shared, job.runtime.ranks_per_worker
                    work(world, prepared.evaluator, writer, stopping, shared, together)
                ending = led(
                    world,
                    lambda: _of(lead).computing.compute(prepared.evaluator, order.no_smaller),
                )
                if order.parallel and world.lost:  # they would have to close the file with us
                    raise DesertedError(
                        "stopped, as some ranks don't answer; what is stored is safe: run the same "
                        "command again to go on",
                        UNFINISHED,
                    )
            if ending.unfinished:
                break
    if ending.shortage is not None:  # what was computed is on the disk
        raise OutOfMemoryError(ending.shortage)
    return ending.unfinished


def _compare(
    world: World,
    stopping: StopRequest,
    lead: Lead | None,
    prepared: Prepared,
    order: Order,
    unfinished: bool,
) -> bool:
    """Compute some points again in float32, shared by the ranks; whether any work is left."""
    shares = led(world, lambda: _of(lead).to_compare(unfinished))
    if not shares:
        return unfinished
    mine = shares.get(world.rank, np.empty(0, np.int64))
    smallest = order.no_smaller is not None
    _, found = each(world, lambda: prepared.again(mine, stopping, smallest), lambda values: values)
    return led(world, lambda: _of(lead).compare(prepared, shares, found))


def _in_rounds(
    world: World,
    stopping: StopRequest,
    rounds: Callable[[], Rounds[Piece, Found]],
    attempt: Callable[[Piece], Found | str | None],
) -> bool:
    """Do work that comes after the points, a piece a rank at a time; whether any was left.

    Args:
        world: the ranks.
        stopping: whether a signal has asked to stop.
        rounds: rank 0's, which it alone is asked for.
        attempt: does a piece; see `Rounds.store`.
    """
    while pieces := led(world, lambda: rounds().next(world.living())):
        if _round(world, stopping, rounds, attempt, pieces):
            return True
    return False


def _round(
    world: World,
    stopping: StopRequest,
    rounds: Callable[[], Rounds[Piece, Found]],
    attempt: Callable[[Piece], Found | str | None],
    pieces: dict[int, Piece],
) -> bool:
    """One round of that; whether a signal asked to stop."""
    mine = [pieces[world.rank]] if world.rank in pieces else []
    _, found = each(
        world, lambda: [attempt(piece) for piece in mine], lambda tried: (tried, stopping())
    )
    return led(world, lambda: rounds().store(found))


def _writer(world: World, job: Job, prepared: Prepared, order: Order) -> PointWriter | None:
    """Rank 0's, or one on every rank with parallel HDF5; opened before anybody computes."""
    if world.rank != 0 and not order.parallel:
        return None
    comm = world.comm if order.parallel else None
    columns, seconds = prepared.evaluator.columns, job.runtime.sync_seconds
    return PointWriter(job.output, columns, seconds, comm, order.epoch)


@contextmanager
def _open_together(world: World, samples: SampleFile | None, owner: str) -> Iterator[None]:
    """For a stage, what earlier ones have kept; all of it is there once every rank closed it."""
    if samples is None:
        yield
        return
    each(world, lambda: samples.open(owner), lambda _: None)
    yield
    each(world, samples.close, lambda _: None)


@contextmanager
def _closed_together(world: World, writer: PointWriter | None, parallel: bool) -> Iterator[None]:
    """At the end close the file on every rank; rank 0 goes on only if all of it is on the disk.

    Ranks that share a file don't close it once something has failed: if the disk refuses what one
    of them writes then, the others wait for it for ever. They exit as they are.
    """
    sync, close = (writer.sync, writer.close) if writer is not None else (_nothing, _nothing)
    try:
        yield
        each(world, sync, lambda _: None)
    except OutOfMemoryError:  # all ranks go on
        close()
        raise
    except Exception as error:  # an interrupted process waits for nobody
        if not parallel:
            with suppress(UserError):  # what came first is the one to mend
                close()
        elif isinstance(error, (UserError, RunFailedError, StoppedError)):
            raise AbandonedError from error
        raise
    each(world, close, lambda _: None)


def _nothing() -> None:
    pass


def _exit_together(world: World, failure: BaseException | None) -> NoReturn:
    """Rank 0 tells why, then all exit with its status."""
    status = None
    if isinstance(failure, (UserError, RunFailedError)):
        status = status_of(failure)
        print(f"lossgrid: {failure}", file=sys.stderr, flush=True)
    world.exit(world.broadcast(status))


def _of(what: T | None) -> T:
    assert what is not None  # `led` calls this on rank 0 alone
    return what

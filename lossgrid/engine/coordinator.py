"""The coordinator: hands out chunks, has results stored, and ends the job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from lossgrid.engine.chunks import ChunkQueue
from lossgrid.engine.desk import Desks, Out, Task
from lossgrid.engine.dismissal import DesertedError, Dismissal
from lossgrid.engine.failures import Failures
from lossgrid.engine.lease import Lease
from lossgrid.engine.links import Hub
from lossgrid.engine.messages import (
    DONE,
    FAILED,
    PENDING,
    Ask,
    Bye,
    Chunk,
    Crashed,
    Here,
    Interrupted,
    Result,
    ToCoordinator,
    Withdraw,
)
from lossgrid.engine.observer import Observer
from lossgrid.engine.pointset import Points
from lossgrid.engine.sizing import ChunkSizer
from lossgrid.engine.tail import Idle, not_begun, slow
from lossgrid.engine.worker import Sink
from lossgrid.errors import RunFailedError, UserError
from lossgrid.exits import BAD_INPUT, BROKE_DOWN

BATCH = 64
"""Messages taken in before their results are stored together."""

TICK_SECONDS = 0.5


class Ending(NamedTuple):
    """How a job ended: whether points are left, and what a worker said if memory is why."""

    unfinished: bool
    shortage: str | None = None


class Coordinator:
    """Runs the job: at any time every worker has a chunk in work and one ahead.

    When nothing is left to hand out, chunks that a slower worker has not begun are withdrawn and
    given to idle ones, and those that a much slower one has begun are given to idle ones as well.
    Values are deterministic, so that a point computed twice is harmless: whoever is first counts.

    What becomes of points that fail, and of workers at which everything does, `Failures` says;
    which workers hang, `Lease`. A worker that dies, hangs or is retired is *out*: what it has in
    hand goes to others. One that answers after all is given chunks again.

    Args:
        hub: links to all workers.
        queue: the points to compute.
        sizer: the size of a chunk.
        sink: stores results; results that a worker has stored itself come without values.
        observer: told of progress.
        stopping: whether a signal asked rank 0 to stop.
        no_smaller: why points that want of memory prevents have failed; None if the job is to end
            instead, so that it can go on with less at a time.
    """

    def __init__(
        self,
        hub: Hub,
        queue: ChunkQueue,
        sizer: ChunkSizer,
        sink: Sink,
        observer: Observer,
        stopping: Callable[[], bool] = lambda: False,
        no_smaller: str | None = None,
    ) -> None:
        self._hub = hub
        self._queue = queue
        self._sizer = sizer
        self._sink = sink
        self._observer = observer
        self._signalled = stopping
        self._no_smaller = no_smaller
        self._shortage: str | None = None
        self._desks = Desks(hub.ranks)
        self._hungry: set[int] = set()  # who could hold more chunks
        self._idle = Idle()
        self._all_heard = True  # whether nothing more has arrived
        self._numbers = 0
        self._failures = Failures(self._desks, queue.grid_points)
        self._lease = Lease()
        self._dismissal = Dismissal(hub, self._desks)
        self._heard = 0.0  # when what is being acted upon was
        self._storing = True
        self._fatal: UserError | RunFailedError | None = None

    def run(self) -> Ending:
        """Work until every point is stored, or a signal or a lack of memory stops the job.

        Raises:
            UserError: results could not be stored; all workers have been stopped.
            RunFailedError: a worker could not go on, or all have died; all others have been
                stopped, and what they had computed is stored.
            DesertedError: as one of these or after a signal, but some workers have not ended.
        """
        try:
            self._work()
        except Exception as error:
            self._dismiss()
            if self._desks.present:
                status = BAD_INPUT if isinstance(error, UserError) else BROKE_DOWN
                raise DesertedError(str(error), status) from error
            raise
        self._hub.flush()
        return Ending(False) if self._finished() else Ending(True, self._shortage)

    def _work(self) -> None:
        self._serve(self._desks)
        self._stop_if_finished()
        last_tick = 0.0
        while self._desks.present:
            self._lease.tick()
            results = self._gather(min(self._idle.due_in(), TICK_SECONDS))
            self._store(results)
            if not self._all_heard:  # only who is behind has to care
                self._sizer.pay((time.monotonic() - self._heard) / len(results))
            self._bury()
            if self._fatal is not None:
                raise self._fatal
            if self._signalled():
                self._dismissal.heed()
            self._dismissal.leave_late()
            if time.monotonic() - last_tick >= TICK_SECONDS:
                last_tick = time.monotonic()
                self._observer.tick()
                self._miss_silent()
                self._idle.retry()  # somebody may have become too slow meanwhile
                self._serve(self._hungry if self._queue.remaining or self._failures.waiting else ())
        if not self._dismissal.has_begun:
            raise RunFailedError("all ranks that compute have died; run the same command again")

    def _dismiss(self) -> None:
        """Stop everybody after a failure; what still arrives is stored, if that is possible."""
        self._dismissal.begin()
        while self._desks.present and not self._dismissal.is_late():
            results = self._gather(TICK_SECONDS)
            with suppress(Exception):  # the first failure is the one to tell
                if self._storing:
                    self._store(results)
                self._bury()

    def _gather(self, seconds: float) -> list[Result]:
        """Take in what has been said; results are returned, the rest is acted upon."""
        results: list[Result] = []
        heard = self._hub.receive(seconds)
        self._heard = time.monotonic()
        while heard is not None:
            rank, message = heard
            if isinstance(message, Result):
                results.append(message)
            else:
                self._note(rank, message)
            heard = self._hub.receive(0.0) if len(results) < BATCH else None
        self._all_heard = len(results) < BATCH
        return results

    def _note(self, rank: int, message: ToCoordinator) -> None:
        if isinstance(message, Interrupted):
            self._dismissal.heed()
        elif isinstance(message, Here):
            self._take_back(rank)
            self._serve([rank])
        elif isinstance(message, Bye):
            self._desks.present.discard(rank)
        elif isinstance(message, Crashed) and self._fatal is None:
            if message.user_error:
                self._fatal = UserError(message.sentence)
            else:
                self._fatal = RunFailedError(f"rank {rank} can't go on: {message.sentence}")

    def _bury(self) -> None:
        """Take the dead off the list, once their last words are stored."""
        dead = self._hub.deaths()
        if not dead:
            return
        self._desks.present -= dead
        while results := self._gather(0.0):
            self._store(results)
        for rank in dead:
            if rank in self._desks:
                self._put_out(rank, Out.DEAD)
            else:  # a helper: its leader goes on without it
                self._observer.out(rank, Out.DEAD, "")
        self._stop_if_finished()

    def _miss_silent(self) -> None:
        """Put those out that hang, if there is somebody else; after a stop, leave them behind."""
        late = self._dismissal.is_late(self._lease.longest)  # one batch can't be dropped
        for rank in sorted(self._desks.present):
            desk = self._desks[rank]
            hangs = late or self._lease.is_over(desk)
            if hangs and desk.out is not Out.SILENT and self._failures.others(rank):
                self._put_out(rank, Out.SILENT)
            if self._dismissal.has_begun and desk.out is Out.SILENT:
                self._hub.leave_behind(rank)
                self._desks.present.discard(rank)

    def _put_out(self, rank: int, why: Out, message: str = "") -> None:
        """Give a worker nothing more, and what it has in hand to others."""
        desk = self._desks[rank]
        desk.out = why
        self._observer.out(rank, why, message)
        for number in list(desk.chunks):
            self._queue.put_back(self._in_no_other_hand(self._withdraw(rank, number)))
        if why is Out.SILENT:  # what it has not begun it would not answer
            self._hub.send(rank, Ask())
        self._serve(self._desks)

    def _take_back(self, rank: int) -> None:
        """Take in that a worker is there, which may have been silent."""
        desk = self._desks[rank]
        self._lease.renew(desk)
        if desk.out is Out.SILENT:
            desk.out = None
            self._observer.back(rank)

    def _in_no_other_hand(self, task: Task) -> Points:
        """Points of a task that nobody computes as well."""
        if task.copy is None:
            return task.points
        rank, number = task.copy
        same = self._desks[rank].chunks.get(number)
        return task.points if same is None else task.points[~np.isin(task.points, same.points)]

    def _store(self, results: list[Result]) -> None:
        """Have results stored, then give their workers something new."""
        found = map(self._without_short, results)
        fresh = [part for result in found for part in self._settle(result) if part.points.size]
        if self._failures.waiting:
            fresh += self._failures.untriable()
        if fresh:
            self._save(fresh)
        ranks = {result.rank for result in results}
        self._serve(ranks | self._hungry if self._failures.waiting else ranks)
        self._stop_if_finished()

    def _save(self, results: list[Result]) -> None:
        self._storing = False  # and it stays so if the sink raises
        self._sink.write(results)
        self._storing = True
        self._observer.stored(results)

    def _without_short(self, result: Result) -> Result:
        """A result without the points for which memory did not suffice; or they have failed."""
        short = result.status == PENDING
        if not short.any():
            return result
        if self._no_smaller is not None:
            status = np.where(short, np.uint8(FAILED), result.status)
            others = result.part(~short).errors
            errors = [(p, f"{self._no_smaller}: {said}") for p, said in result.part(short).errors]
            return result._replace(status=status, errors=others + errors)
        if not self._dismissal.has_begun:
            self._shortage = f"rank {result.rank}: {result.part(short).errors[0][1]}"
            self._dismissal.begin()
        return result.part(~short)

    def _settle(self, result: Result) -> list[Result]:
        """Await no more what has come.

        Returns: what of it is to be stored. Somebody else may have computed some points meanwhile,
            or will since they were withdrawn too late; and most failures are not final.
        """
        desk = self._desks[result.rank]
        self._take_back(result.rank)
        if result.chunk == desk.trial:
            if self._failures.judge(result):
                self._put_out(result.rank, Out.FAILING, result.errors[0][1])
            return []
        all_failed = len(result.errors) == result.points.size
        desk.failures = desk.failures + result.points.size if all_failed else 0
        task = desk.chunks.get(result.chunk)
        if task is None:
            return [self._failures.replaced(result)]
        if task.copy is not None:
            result = result.part(np.isin(result.points, task.points))
        self._desks.answered(result.rank, result.chunk, result.points)
        if not result.errors:
            return [self._credit(result, task)]
        done = self._credit(result.part(result.status == DONE), task)
        return [done, self._failures.final(result.part(result.status == FAILED), task)]

    def _credit(self, done: Result, task: Task) -> Result:
        """Learn from what a worker could compute, and await it from nobody else."""
        if done.points.size:
            self._sizer.record(done.rank, done.points.size, float(done.seconds.sum()))
            self._failures.note(done)
            if task.copy is not None:
                rank, same = task.copy
                self._desks.answered(rank, same, done.points)
                self._hungry.add(rank)
        return done

    def _serve(self, ranks: Iterable[int]) -> None:
        """Give these workers chunks, and all that are idle something of what others have."""
        if self._dismissal.has_begun:
            self._idle.ranks.clear()
            return
        for rank in list(ranks):
            self._supply(rank)
        if self._all_heard and self._idle.due_in() <= 0:
            self._share()

    def _share(self) -> None:
        """Give all that are idle something of what others have in hand."""
        began = time.monotonic()
        for idle, (rank, number) in not_begun(self._desks, self._sizer, self._idle.ranks):
            self._give(idle, self._withdraw(rank, number))
        for idle, place in slow(self._desks, self._sizer, self._idle.ranks, self._lease.now):
            self._copy_to(idle, place)
        self._idle.served(began)

    def _supply(self, rank: int) -> None:
        """Give a worker chunks until it has one in work and one ahead."""
        desk = self._desks[rank]
        self._hungry.discard(rank)
        self._idle.discard(rank)
        if desk.out is not None:
            return
        if self._failures.doubt(rank):
            self._hungry.add(rank)
            self._try_out(rank)
            return
        while len(desk.chunks) < self._sizer.in_hand(rank):
            task = self._failures.second_try(rank) or self._new(rank)
            if task is None:
                self._hungry.add(rank)
                if not desk.chunks:
                    self._idle.add(rank)
                return
            self._give(rank, task)

    def _try_out(self, rank: int) -> None:
        """Have a worker at which much has failed compute a point that can be computed."""
        points = self._failures.trial(rank)
        if points is not None:
            desk = self._desks[rank]
            desk.since = self._lease.now
            number = desk.trial = self._next_number()
            self._hub.send(rank, Chunk(number, points, self._sizer.seconds))

    def _new(self, rank: int) -> Task | None:
        points = self._queue.take(self._sizer.size(rank, self._queue.remaining))
        return Task(points) if points.size else None

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _give(self, rank: int, task: Task) -> int:
        desk = self._desks[rank]
        if not desk.chunks:
            desk.since = self._lease.now
            self._idle.discard(rank)
        number = self._next_number()
        self._desks.put(rank, number, task)
        self._hub.send(rank, Chunk(number, task.points, self._sizer.seconds))
        return number

    def _withdraw(self, rank: int, number: int) -> Task:
        """Have a worker leave a chunk alone, unless it has begun it."""
        self._hungry.add(rank)
        self._hub.send(rank, Withdraw(number))
        return self._desks.take(rank, number)

    def _copy_to(self, idle: int, place: tuple[int, int]) -> None:
        """Let an idle worker compute what another has in hand as well, whoever is first."""
        rank, number = place
        task = self._desks.task(place)
        same = self._give(idle, task._replace(copy=place))
        self._desks.put(rank, number, task._replace(copy=(idle, same)))

    def _finished(self) -> bool:
        return not (self._queue.remaining or self._failures.waiting or self._desks.busy)

    def _stop_if_finished(self) -> None:
        if self._finished():
            self._dismissal.begin()

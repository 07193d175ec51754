"""A worker: computes the chunks it is given until it is told to stop."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.deaths import OrphanedError
from lossgrid.engine.links import Link
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
    Stop,
    Withdraw,
)
from lossgrid.engine.pointset import Points
from lossgrid.engine.signals import GRACE_SECONDS
from lossgrid.errors import DroppedError, OutOfMemoryError, StorageError, UserError, summary

LISTEN_SECONDS = 0.2
"""An idle worker looks this often whether a signal has come."""

LITTLE = 0.5
"""Less of a part than this is not worth a message of its own."""


class Evaluator(Protocol):
    """What turns grid points into values; the engine needs no more than this."""

    columns: tuple[str, ...]
    points_per_pass: int

    def __call__(self, points: Points, unwanted: Callable[[], bool]) -> NDArray[np.float64]:
        """Values of at most `points_per_pass` points: float64, shape (n, len(columns)).

        Args:
            points: flat indices.
            unwanted: asked now and then; once it is true these points may be dropped.

        Raises:
            DroppedError: they have been.
            StorageError: what it keeps for other points can't be stored; ends the job.
            OutOfMemoryError: not these points are at fault; the coordinator decides what then.
            Exception: of any other kind, a failure of these points.
        """


class Sink(Protocol):
    """Where results are stored."""

    def write(self, results: list[Result]) -> None:
        """Store all of them such that a kill right afterwards loses none.

        Raises:
            UserError: they can't be stored.
        """


class Worker:
    """Computes chunks in the order given, one pass of points at a time.

    Args:
        rank: of this worker, for the record.
        link: to the coordinator.
        evaluate: values of points; an exception marks a point as failed.
        stopping: whether a signal asked this rank to stop.
        sink: where this rank stores its own results; None if the coordinator writes.
        finish: called when nothing more is to be computed.
    """

    def __init__(
        self,
        rank: int,
        link: Link,
        evaluate: Evaluator,
        stopping: Callable[[], bool] = lambda: False,
        sink: Sink | None = None,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self._rank = rank
        self._link = link
        self._evaluate = evaluate
        self._signalled = stopping
        self._sink = sink
        self._finish = finish
        self._chunks: deque[Chunk] = deque()
        self._stopped: float | None = None  # when
        self._told = False

    def run(self) -> None:
        """Work until the coordinator says stop; report a crash to it instead of dying alone."""
        try:
            while True:
                self._listen(0.0 if self._chunks else LISTEN_SECONDS)
                if self._stopped is not None:
                    break
                if self._chunks:
                    self._compute(self._chunks.popleft())
        except (KeyboardInterrupt, OrphanedError):  # the user's second one: leave at once
            raise
        except UserError as error:
            self._link.send(Crashed(str(error), True))
        except BaseException as error:
            traceback.print_exc()
            self._link.send(Crashed(summary(error), False))
        self._finish()
        self._link.send(Bye())

    def _listen(self, seconds: float) -> None:
        """Take in what the coordinator has said, waiting at most `seconds` for the first of it."""
        if self._signalled() and not self._told:
            self._told = True
            self._link.send(Interrupted())
        while (message := self._link.receive(seconds)) is not None:
            seconds = 0.0
            if isinstance(message, Chunk):
                self._chunks.append(message)
            elif isinstance(message, Withdraw):
                kept = (chunk for chunk in self._chunks if chunk.number != message.number)
                self._chunks = deque(kept)
            elif isinstance(message, Ask):
                self._link.send(Here())
            elif isinstance(message, Stop):
                self._stopped = time.monotonic()

    def _unwanted(self) -> bool:
        """Whether the points in work are to be dropped, as a stop came long enough ago."""
        self._listen(0.0)
        return self._stopped is not None and time.monotonic() - self._stopped >= GRACE_SECONDS

    def _compute(self, chunk: Chunk) -> None:
        """Compute a chunk and send it, in parts if it takes long; after a stop, what is done."""
        size, width = chunk.points.size, self._evaluate.points_per_pass
        result = _blank(self._rank, chunk, len(self._evaluate.columns))
        sent, began = 0, time.monotonic()
        for begin in range(0, size, width):
            if begin:
                self._listen(0.0)
                if self._stopped is not None:
                    size = begin
                    break
                short = result.errors and (result.status[sent:begin] == PENDING).any()
                now = time.monotonic()
                if short or is_part(chunk, now - began, (size - begin) / (begin - sent)):
                    self._send(result.part(slice(sent, begin)))
                    sent, began = begin, now
            try:
                self._one_pass(result, slice(begin, min(begin + width, size)))
            except DroppedError:
                size = begin
                break
        if size > sent:
            whole = size - sent == chunk.points.size
            self._send(result if whole else result.part(slice(sent, size)))

    def _send(self, result: Result) -> None:
        """Send a result; a worker with a sink stores what is done, but leaves the rest to rank 0.

        Only rank 0 knows which failures are final.
        """
        if self._sink is None:
            self._link.send(result)
            return
        if result.errors:
            self._link.send(result.part(result.status != DONE))
            result = result.part(result.status == DONE)
        if result.points.size:
            self._sink.write([result])
            self._link.send(result._replace(values=None))

    def _one_pass(self, result: Result, part: slice) -> None:
        """Fill in a part of a result; when it fails as a whole, point by point."""
        assert result.values is not None
        points = result.points[part]
        began = time.perf_counter()
        try:
            result.values[part] = self._evaluate(points, self._unwanted)
            result.status[part] = DONE
        except (DroppedError, StorageError):
            raise
        except OutOfMemoryError as error:
            result.status[part] = PENDING
            result.errors.extend((point, str(error)) for point in points.tolist())
        except Exception as error:
            if points.size > 1:
                for one in range(part.start, part.stop):
                    self._one_pass(result, slice(one, one + 1))
                return
            result.status[part] = FAILED
            result.errors.append((int(points[0]), summary(error)))
        result.seconds[part] = (time.perf_counter() - began) / points.size


def is_part(chunk: Chunk, taken: float, left: float) -> bool:
    """Whether what has been computed is sent before the rest, since a kill loses what is not sent.

    Args:
        chunk: in work.
        taken: seconds since something was sent.
        left: what is to be computed, by what has been since then. Little comes with the rest.
    """
    return taken >= chunk.seconds and taken * left >= LITTLE * chunk.seconds


def _blank(rank: int, chunk: Chunk, columns: int) -> Result:
    size = chunk.points.size
    return Result(
        rank,
        chunk.number,
        chunk.points,
        np.full((size, columns), np.nan),
        np.empty(size, np.uint8),
        np.empty(size, np.float32),
        [],
    )

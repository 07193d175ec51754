"""Sums over a split's batches, several of which are at work at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch
from torch import Tensor

from lossgrid.data import Split
from lossgrid.errors import DroppedError
from lossgrid.evaluate.batches import Batch, batches
from lossgrid.evaluate.evaluator import never


class Summing:
    """Adds what batches come to, in float64 and in their order.

    A batch runs on one thread, so that bits do not depend on how many run at a time.

    Args:
        splits: by name, on the device.
        batch_size: samples in a batch.
        lanes: batches that run at a time.

    Attributes:
        unwanted: asked between batches; once it is true, what is computed is dropped.
    """

    def __init__(self, splits: Mapping[str, Split], batch_size: int, lanes: int) -> None:
        self.unwanted: Callable[[], bool] = never
        self._splits = splits
        self._batch_size = batch_size
        self._ahead = 2 * lanes  # results that wait for an earlier one, and so memory, are bounded
        self._pool = (
            ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,))
            if lanes > 1
            else None
        )

    def batches(self, split: str) -> list[Batch]:
        """Those of a split."""
        return list(batches(len(self._splits[split]), self._batch_size))

    def over(self, split: str, work: Callable[[Batch], Tensor]) -> Tensor:
        """The sum of what `work` makes of each batch: float64, of the same shape.

        Raises:
            DroppedError: it is unwanted.
        """
        torch.set_num_threads(1)  # see `Plan`
        total: Tensor | None = None
        for part in _in_order(self._pool, work, self.batches(split), self._ahead):
            if self.unwanted():
                raise DroppedError
            total = part.double() if total is None else total.add_(part)
        assert total is not None  # a split has samples
        return total


def _in_order(
    pool: ThreadPoolExecutor | None,
    work: Callable[[Batch], Tensor],
    items: list[Batch],
    ahead: int,
) -> Iterator[Tensor]:
    """Results in the order of the items, of which at most `ahead` are computed or kept."""
    if pool is None:
        yield from map(work, items)
        return
    running: deque[Future[Tensor]] = deque()
    try:
        for item in items:
            if len(running) == ahead:
                yield running.popleft().result()
            running.append(pool.submit(work, item))
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()
        wait(running)  # after an error none may be at work when the network is moved

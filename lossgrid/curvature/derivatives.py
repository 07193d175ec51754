"""Gradients and Hessian-vector products of a split's mean loss, at a place of the plane.

They are taken through the plain network, since the fused forms have no derivatives, with respect
to the parameters that the factory leaves trainable and those that the directions move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lossgrid.errors import DroppedError
from lossgrid.evaluate.batches import Batch, batches
from lossgrid.evaluate.evaluator import never
from lossgrid.evaluate.networks import PlainNetwork
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.streaming import placed
from lossgrid.problem import Problem
from lossgrid.problem.forward import forward
from lossgrid.space import Place, Plane
from lossgrid.space.directions import gaussian

T = TypeVar("T")
R = TypeVar("R")


class Derivatives:
    """Derivatives of the mean loss by theta, as flat float64 vectors of shape (size,).

    A batch runs on one thread, and the batches' sums are added in float64 in their order, so that
    bits do not depend on the number of lanes.

    Args:
        problem: model, data, loss.
        plane: theta and directions.
        plan: of whose batch size and device, in float32 at least.
        device: of this rank.
        lanes: batches that run at a time.
        names: of the splits that are asked for.
    """

    def __init__(
        self,
        problem: Problem,
        plane: Plane,
        plan: Plan,
        device: torch.device,
        lanes: int,
        names: Iterable[str],
    ) -> None:
        plan = plan.exact
        self._loss = problem.loss
        self._dtype, self._device, self._batch_size = plan.dtype, device, plan.batch_size
        moving = {entry.name for entry in plane.layout.entries}
        self._shapes = {
            name: parameter.shape
            for name, parameter in problem.build_model().named_parameters()
            if parameter.is_floating_point() and (parameter.requires_grad or name in moving)
        }
        self.size = sum(shape.numel() for shape in self._shapes.values())
        names = list(names)
        splits = placed([problem.splits[name] for name in names], device)
        self._splits = dict(zip(names, splits, strict=True))
        plane = plane.to(device, plan.dtype)
        self.directions = [self._along(plane, corner) for corner in plane.corners[1:]]
        self._network = PlainNetwork(problem.build_model, plane, splits)
        self._idle: SimpleQueue[nn.Module] = SimpleQueue()
        models = self._network.modules(lanes)
        for model in models:
            self._idle.put(model)
        width = len(models)
        self._unwanted: Callable[[], bool] = never
        self._ahead = 2 * width  # results that wait for an earlier one, and so memory, are bounded
        self._pool = (
            ThreadPoolExecutor(width, initializer=torch.set_num_threads, initargs=(1,))
            if width > 1
            else None
        )

    def move(self, place: Place, unwanted: Callable[[], bool] = never) -> None:
        """Go to a place; once `unwanted` is true, what is computed there is dropped."""
        self._unwanted = unwanted
        torch.set_num_threads(1)  # see `Plan`
        with torch.no_grad():
            self._network.move([place])

    def gradient(self, split: str) -> Tensor:
        """Of the mean loss, where we are."""
        return self._mean(split, None)

    def product(self, split: str, vector: Tensor) -> Tensor:
        """The Hessian of the mean loss times a float64 vector, where we are."""
        return self._mean(split, self._parts(vector.to(self._dtype)))

    def try_batch(self, split: str) -> None:
        """Differentiate a batch twice.

        Raises:
            Exception: of any kind, if the network or the loss does not allow that.
        """
        vector = torch.ones(self.size, dtype=self._dtype, device=self._device)
        self._of_batch(split, self._parts(vector), self._batches(split)[0])

    def drawn(self, seed: int, number: int, purpose: str) -> Tensor:
        """Standard normal numbers, from the generator of `lossgrid.space.directions`."""
        parts = [
            gaussian(seed, number, purpose, name, shape).reshape(-1)
            for name, shape in self._shapes.items()
        ]
        return torch.cat(parts).to(self._device)

    def _mean(self, split: str, vectors: list[Tensor] | None) -> Tensor:
        total = torch.zeros(self.size, dtype=torch.float64, device=self._device)
        work = partial(self._of_batch, split, vectors)
        for part in _in_order(self._pool, work, self._batches(split), self._ahead):
            if self._unwanted():
                raise DroppedError
            total += part
        return total / len(self._splits[split])

    def _batches(self, split: str) -> list[Batch]:
        return list(batches(len(self._splits[split]), self._batch_size))

    def _of_batch(self, split: str, vectors: list[Tensor] | None, batch: Batch) -> Tensor:
        """The sum over a batch's fresh samples: of gradients, or of products with vectors."""
        inputs, targets = self._splits[split].batch(batch.begin, batch.end, self._dtype)
        model = self._idle.get()
        try:
            known = dict(model.named_parameters())
            weights = [known[name].requires_grad_(True) for name in self._shapes]
            with torch.enable_grad():  # a mode of the thread
                losses = self._loss(forward(model, tree_map(Tensor.clone, inputs)), targets)
                total = losses[batch.fresh - batch.begin :].sum()
                found = _gradients(total, weights, vectors)
        finally:
            self._idle.put(model)
        return torch.cat([part.detach().reshape(-1) for part in found])

    def _parts(self, vector: Tensor) -> list[Tensor]:
        """A flat vector cut into the shapes of the parameters."""
        sizes = [shape.numel() for shape in self._shapes.values()]
        pieces = zip(torch.split(vector, sizes), self._shapes.values(), strict=True)
        return [piece.view(shape) for piece, shape in pieces]

    def _along(self, plane: Plane, corner: Tensor) -> Tensor:
        """What theta moves by for a unit of a coordinate; zero for what stays."""
        step = corner.double() - plane.corners[0].double() if plane.barycentric else corner.double()
        moves = plane.layout.views(step)
        parts = [
            moves[name] if name in moves else step.new_zeros(shape)
            for name, shape in self._shapes.items()
        ]
        return torch.cat([part.reshape(-1) for part in parts])


def _gradients(
    total: Tensor, weights: list[Tensor], vectors: list[Tensor] | None
) -> tuple[Tensor, ...]:
    """The gradient, or the gradient of its product with vectors (Pearlmutter, 1994)."""
    once: tuple[Tensor, ...] = torch.autograd.grad(
        total, weights, create_graph=vectors is not None, materialize_grads=True
    )
    if vectors is None:
        return once
    pairs = [(g, v) for g, v in zip(once, vectors, strict=True) if g.requires_grad]
    if not pairs:  # the loss is linear in the weights
        return tuple(torch.zeros_like(weight) for weight in weights)
    gradients, along = zip(*pairs, strict=True)
    twice: tuple[Tensor, ...] = torch.autograd.grad(
        gradients, weights, along, materialize_grads=True
    )
    return twice


def _in_order(
    pool: ThreadPoolExecutor | None, work: Callable[[T], R], items: list[T], ahead: int
) -> Iterator[R]:
    """Results in the order of the items, of which at most `ahead` are computed or kept."""
    if pool is None:
        yield from map(work, items)
        return
    running: deque[Future[R]] = deque()
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

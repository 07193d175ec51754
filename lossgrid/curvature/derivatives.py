"""Gradients and Hessian-vector products of a split's mean loss, at a place of the plane.

They are taken with respect to the parameters that the factory leaves trainable and those that the
directions move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from lossgrid.curvature.networks import Differentiable, Gradient, folded, plain
from lossgrid.curvature.summing import Summing
from lossgrid.evaluate.batches import Batch
from lossgrid.evaluate.evaluator import never
from lossgrid.evaluate.networks import PlainNetwork
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.streaming import placed
from lossgrid.problem import Problem
from lossgrid.space import Place, Plane
from lossgrid.space.directions import gaussian

ALIKE = 1e-3
"""Derivatives of two forms of a network differ by less than this share of their norm, if they are
the same but for rounding."""


class Derivatives:
    """Derivatives of the mean loss by theta, as flat float64 vectors of shape (size,).

    A batch's gradient is kept while products are asked for, as far as there is room: the next
    product then costs no more than differentiating it once more. What is kept changes no bit.

    Args:
        problem: model, data, loss.
        plane: theta and directions.
        plan: of whose form of the network, batch size and device, in float32 at least.
        device: of this rank.
        lanes: batches that run at a time.
        names: of the splits that are asked for.
        room: bytes that may be taken by what is kept.

    Attributes:
        room: those.
        size: numbers in all parameters.
        shapes: of the parameters, by name.
        directions: what theta moves by for a unit of each coordinate.
        network: at the place.
        summing: over batches.
        is_folded: whether a faster form of the network is differentiated than the user's own.
        most_kept: gradients of batches that there is room for.
    """

    def __init__(
        self,
        problem: Problem,
        plane: Plane,
        plan: Plan,
        device: torch.device,
        lanes: int,
        names: Iterable[str],
        room: int = 0,
    ) -> None:
        plan = plan.exact
        self._loss = problem.loss
        self._dtype, self._device = plan.dtype, device
        moving = {entry.name for entry in plane.layout.entries}
        self.shapes = {
            name: parameter.shape
            for name, parameter in problem.build_model().named_parameters()
            if parameter.is_floating_point() and (parameter.requires_grad or name in moving)
        }
        self.size = sum(shape.numel() for shape in self.shapes.values())
        names = list(names)
        splits = placed([problem.splits[name] for name in names], device)
        self.splits = dict(zip(names, splits, strict=True))
        plane = plane.to(device, plan.dtype)
        self.directions = [self._along(plane, corner) for corner in plane.corners[1:]]
        self.network = PlainNetwork(problem.build_model, plane, splits)
        self.room = room
        self.most_kept = 0
        self._kept: dict[Batch, Gradient] = {}
        self._kept_of = ""
        forms = plain(self.network, self.shapes, lanes)
        self.summing = Summing(self.splits, plan.batch_size, len(forms))
        faster = self._folded(forms[0], plan.channels_last) if plan.network == "fused" else None
        self.is_folded = faster is not None
        self._idle: SimpleQueue[Differentiable] = SimpleQueue()
        for form in forms:
            self._idle.put(faster or form)

    def move(self, place: Place, unwanted: Callable[[], bool] = never) -> None:
        """Go to a place; once `unwanted` is true, what is computed there is dropped."""
        self._kept.clear()
        self.summing.unwanted = unwanted
        torch.set_num_threads(1)  # see `Plan`
        with torch.no_grad():
            self.network.move([place])

    def gradient(self, split: str) -> Tensor:
        """Of the mean loss, where we are."""
        total = self.summing.over(split, partial(self._gradient_of, split))
        return total / len(self.splits[split])

    def product(self, split: str, vector: Tensor) -> Tensor:
        """The Hessian of the mean loss times a float64 vector, where we are."""
        if split != self._kept_of:
            self._kept.clear()
            self._kept_of = split
        kept = set(self.summing.batches(split)[: self.most_kept])
        parts = self._parts(vector.to(self._dtype))
        total = self.summing.over(split, partial(self._product_of, split, parts, kept))
        return total / len(self.splits[split])

    def batch(self, split: str, batch: Batch) -> tuple[Any, Any]:
        """Inputs and targets, in the type that is differentiated."""
        return self.splits[split].batch(batch.begin, batch.end, self._dtype)

    def try_batch(self, split: str) -> None:
        """Differentiate a batch twice, and see how many gradients there is room for.

        Raises:
            Exception: of any kind, if the network or the loss does not allow that.
        """
        batch = self.summing.batches(split)[0]
        parts = self._parts(torch.ones(self.size, dtype=self._dtype, device=self._device))
        saved = _Saved()
        with saved:
            self._product_of(split, parts, set(), batch)
        self.most_kept = self.room // max(saved.bytes, 1)

    def drawn(self, seed: int, number: int, purpose: str) -> Tensor:
        """Standard normal numbers, from the generator of `lossgrid.space.directions`."""
        parts = [
            gaussian(seed, number, purpose, name, shape).reshape(-1)
            for name, shape in self.shapes.items()
        ]
        return torch.cat(parts).to(self._device)

    def _gradient_of(self, split: str, batch: Batch) -> Tensor:
        return _flat(self._differentiated(split, batch, again=False).parts)

    def _product_of(
        self, split: str, vectors: list[Tensor], kept: set[Batch], batch: Batch
    ) -> Tensor:
        gradient = self._kept.get(batch) or self._differentiated(split, batch, again=True)
        if batch in kept:
            self._kept[batch] = gradient
        return _flat(gradient.product(vectors, again=batch in kept))

    def _differentiated(self, split: str, batch: Batch, *, again: bool) -> Gradient:
        inputs, targets = self.batch(split, batch)
        form = self._idle.get()
        try:
            fresh = batch.fresh - batch.begin
            return form.gradient(self._loss, inputs, targets, fresh, again=again)
        finally:
            self._idle.put(form)

    def _folded(self, slower: Differentiable, channels_last: bool) -> Differentiable | None:
        """A faster form of the network, if its derivatives at theta are those of a slower one."""
        self.move((0.0, 0.0))
        firsts = [self.batch(split, self.summing.batches(split)[0]) for split in self.splits]
        try:
            batches = [inputs for inputs, _ in firsts]
            faster = folded(self.network, self.shapes, batches, channels_last)
            for batch in firsts:
                ours, theirs = (self._both(form, *batch) for form in (faster, slower))
                if not (ours - theirs).norm() <= ALIKE * theirs.norm():
                    return None
        except Exception:  # as other networks can't be recorded, or recordings not differentiated
            return None
        return faster

    def _both(self, form: Differentiable, inputs: Any, targets: Any) -> Tensor:
        """A batch's gradient, and a product with its Hessian, of about the same norm."""
        gradient = form.gradient(self._loss, inputs, targets, 0, again=True)
        vector = self.drawn(0, 0, "trial").to(self._dtype)
        product = _flat(gradient.product(self._parts(vector), again=False))
        return torch.stack([_flat(gradient.parts), product / product.norm()])

    def _parts(self, vector: Tensor) -> list[Tensor]:
        """A flat vector cut into the shapes of the parameters."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        pieces = zip(torch.split(vector, sizes), self.shapes.values(), strict=True)
        return [piece.view(shape) for piece, shape in pieces]

    def _along(self, plane: Plane, corner: Tensor) -> Tensor:
        """What theta moves by for a unit of a coordinate; zero for what stays."""
        step = corner.double() - plane.corners[0].double() if plane.barycentric else corner.double()
        moves = plane.layout.views(step)
        parts = [
            moves[name] if name in moves else step.new_zeros(shape)
            for name, shape in self.shapes.items()
        ]
        return _flat(parts)


def _flat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.detach().reshape(-1) for part in parts])


class _Saved(saved_tensors_hooks):
    """Counts the memory that graphs which are made meanwhile hold on to.

    Attributes:
        bytes: of it.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        super().__init__(self._note, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())

    def _note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # or it would hold itself

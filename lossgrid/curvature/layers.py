"""What comes out of a network's layers, and how large the gradient by their parameters is."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lossgrid.curvature.derivatives import Derivatives
from lossgrid.errors import UserError
from lossgrid.evaluate.batches import Batch
from lossgrid.problem.forward import forward


class Layers:
    """Statistics of some of a network's modules.

    Of a module counts what it returns, at all of its calls: floating-point tensors with a row for
    each sample. Modules that return none are left out.

    Args:
        derivatives: the network, at a place, and its data.
        patterns: of the names of modules that are asked for; None for those that hold no others.
        lanes: batches that run at a time.

    Attributes:
        names: of the modules, in the order in which the network holds them.
        weighted: those of them with parameters that the loss is differentiated by.

    Raises:
        UserError: there are none.
    """

    def __init__(
        self, derivatives: Derivatives, patterns: Sequence[str] | None, lanes: int
    ) -> None:
        self._derivatives = derivatives
        self._idle: SimpleQueue[_Watched] = SimpleQueue()
        for model in derivatives.network.modules(lanes):
            watched = _Watched(model, _asked(model, patterns))
            self._idle.put(watched)
        split = next(iter(derivatives.splits))
        counts = self._sums_of(split, derivatives.summing.batches(split)[0])[0].tolist()
        self._returning = [number for number, count in enumerate(counts) if count]
        self.names = [watched.names[number] for number in self._returning]
        if not self.names:
            known = ", ".join(filter(None, dict(model.named_modules())))
            raise UserError(
                "curvature.hooks.layers: no module of such a name returns a tensor with a row for "
                f"each sample; there are {known}"
            )
        self._own = {name: _own([*derivatives.shapes], name, model) for name in self.names}
        self.weighted = [name for name in self.names if self._own[name]]

    def activations(self, split: str) -> Tensor:
        """Mean, standard deviation and share of zeros, where we are: float64, shape (3, names)."""
        sums = self._derivatives.summing.over(split, partial(self._sums_of, split))
        count, total, squares, zeros = sums[:, self._returning]
        mean = total / count
        spread = (squares / count - mean**2).clamp(min=0).sqrt()  # rounding may leave less than 0
        return torch.stack([mean, spread, zeros / count])

    def gradient_norms(self, gradient: Tensor) -> list[float]:
        """The parts of a gradient, shape (size,), by the parameters of each of `weighted`."""
        sizes = [shape.numel() for shape in self._derivatives.shapes.values()]
        parts = dict(zip(self._derivatives.shapes, torch.split(gradient, sizes), strict=True))
        return [
            float(torch.cat([parts[parameter] for parameter in self._own[name]]).norm())
            for name in self.weighted
        ]

    def _sums_of(self, split: str, batch: Batch) -> Tensor:
        watched = self._idle.get()
        try:
            inputs, _ = self._derivatives.batch(split, batch)
            return watched.sums(inputs, batch.fresh - batch.begin, batch.end - batch.begin)
        finally:
            self._idle.put(watched)


class _Watched:
    """A module of a lane, of whose parts is added up what they return.

    Attributes:
        names: of these parts.
    """

    def __init__(self, model: nn.Module, parts: dict[str, nn.Module]) -> None:
        self.names = list(parts)
        self._model = model
        self._sums: Tensor
        self._rows = (0, 0)
        for number, part in enumerate(parts.values()):
            part.register_forward_hook(partial(self._add, number))

    @torch.no_grad()
    def sums(self, inputs: Any, old: int, end: int) -> Tensor:
        """Of values: how many, their sum, that of their squares, and how many are zero.

        Args:
            inputs: a batch.
            old: samples of it that do not count.
            end: samples in it.

        Returns: float64, shape (4, names).
        """
        leaf = tree_leaves(inputs)[0]
        self._sums = torch.zeros(4, len(self.names), dtype=torch.float64, device=leaf.device)
        self._rows = (old, end)
        forward(self._model, tree_map(Tensor.clone, inputs))
        return self._sums

    def _add(self, number: int, module: nn.Module, inputs: Any, outputs: Any) -> None:
        old, end = self._rows
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.shape[:1] == (end,):
                values = leaf[old:].double()
                count = torch.tensor(float(values.numel()))
                found = (count, values.sum(), values.square().sum(), (values == 0).sum())
                self._sums[:, number] += torch.stack([one.to(self._sums) for one in found])


def _asked(model: nn.Module, patterns: Sequence[str] | None) -> dict[str, nn.Module]:
    """Parts of a model by name; the whole model, if it is one of them, by that of its class."""
    parts = {name or type(model).__name__: part for name, part in model.named_modules()}
    if patterns is None:
        return {name: part for name, part in parts.items() if not any(part.children())}
    return {
        name: part
        for name, part in parts.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def _own(parameters: Sequence[str], name: str, model: nn.Module) -> list[str]:
    """The parameters, by name, of a part of a model and of all that it holds, tied or not."""
    part = dict(model.named_modules()).get(name, model)
    held = {id(parameter) for parameter in part.parameters()}
    return [known for known in parameters if id(model.get_parameter(known)) in held]

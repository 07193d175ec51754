"""Which entries of a network's state move, and where each lies in one flat vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lossgrid.errors import UserError
from lossgrid.job import DirectionsSpec

NORMS: tuple[type[nn.Module], ...] = (
    _NormBase,  # BatchNorm and InstanceNorm
    nn.GroupNorm,
    nn.LayerNorm,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)

Group = Literal["weight", "bias", "norm"]


@dataclass(frozen=True)
class Entry:
    """One parameter or buffer: its name, group, shape, and first element in the flat vector."""

    name: str
    group: Group
    shape: torch.Size
    begin: int

    @property
    def end(self) -> int:
        """One past its last element in the flat vector."""
        return self.begin + self.shape.numel()


class Layout:
    """The moving entries of a network's state, one after the other in a flat vector.

    Entry names are those of `named_parameters` and `named_buffers`; tied weights move once.

    Args:
        tensors: (name, group, shape), in order.
    """

    def __init__(self, tensors: Sequence[tuple[str, Group, torch.Size]]) -> None:
        self.entries: list[Entry] = []
        self.size = 0
        for name, group, shape in tensors:
            self.entries.append(Entry(name, group, shape, self.size))
            self.size = self.entries[-1].end

    @classmethod
    def of(cls, model: nn.Module, spec: DirectionsSpec) -> Layout:
        """The entries of a model that a job lets move.

        Raises:
            UserError: none is left.
        """
        patterns = [spec.parameters] if isinstance(spec.parameters, str) else spec.parameters
        layout = cls(
            [
                (name, group, tensor.shape)
                for name, group, tensor in _state(model, spec.include)
                if group not in spec.ignore
                and any(fnmatchcase(name, pattern) for pattern in patterns)
            ]
        )
        if not layout.entries:
            raise UserError(
                f"directions: nothing moves, since no entry of the model matches parameters "
                f"{spec.parameters!r} beside ignore {list(spec.ignore)}; its entries are "
                f"{', '.join(name for name, _, _ in _state(model, spec.include))[:200]}"
            )
        return layout

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """The moving entries of a model, by name."""
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        return {entry.name: state[entry.name].detach() for entry in self.entries}

    def flatten(self, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """One vector, shape (size,), of named tensors; zeros where a name is absent."""
        flat = torch.zeros(self.size, dtype=dtype)
        self.write(tensors, flat)
        return flat

    def write(self, tensors: Mapping[str, Tensor], flat: Tensor) -> None:
        """Put named tensors into a vector, shape (size,); where a name is absent it stays."""
        for entry in self.entries:
            if entry.name in tensors:
                flat[entry.begin : entry.end] = tensors[entry.name].detach().reshape(-1)

    def read(self, tensors: Mapping[str, Tensor], begin: int, part: Tensor) -> None:
        """Read a part of the vector of named tensors, from its element `begin` on, all present."""
        end = begin + part.numel()
        for entry in self.entries:
            first, last = max(begin, entry.begin), min(end, entry.end)
            if first < last:
                numbers = tensors[entry.name].detach().reshape(-1)
                numbers = numbers[first - entry.begin : last - entry.begin]
                part[first - begin : last - begin] = numbers

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The entries by name, in their shapes, as parts of a flat vector."""
        return {e.name: flat[e.begin : e.end].view(e.shape) for e in self.entries}

    def bind(self, model: nn.Module, flat: Tensor) -> None:
        """Make the model's entries views of a flat vector, so that writing it moves the model."""
        views = self.views(flat)
        for name, parameter in model.named_parameters():
            if name in views:
                parameter.data = views[name]
        tied = {id(b): views[name] for name, b in model.named_buffers() if name in views}
        for name, buffer in list(model.named_buffers(remove_duplicate=False)):
            if id(buffer) in tied:
                path, _, leaf = name.rpartition(".")
                model.get_submodule(path)._buffers[leaf] = tied[id(buffer)]


def _state(
    model: nn.Module, include: Literal["parameters", "state"]
) -> Iterator[tuple[str, Group, Tensor]]:
    """Every floating-point parameter, and with `state` every such buffer, with its group."""
    norms = tuple(name for name, module in model.named_modules() if isinstance(module, NORMS))
    tensors: list[tuple[str, Tensor]] = list(model.named_parameters())
    if include == "state":
        tensors += list(model.named_buffers())
    for name, tensor in tensors:
        if not tensor.is_floating_point():
            continue
        if name.rpartition(".")[0] in norms:
            yield name, "norm", tensor
        else:
            yield name, "weight" if tensor.dim() > 1 else "bias", tensor

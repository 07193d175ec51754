"""Which entries of a network's state move, and where each lies in one flat vector of reals."""

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

    Entry names are those of `named_parameters` and `named_buffers`; tied weights move once. Complex
    entries are real and imaginary parts here: see `reals`.

    Args:
        tensors: (name, group, shape as real numbers), in order.
        is_complex: whether there are complex entries.
    """

    def __init__(
        self, tensors: Sequence[tuple[str, Group, torch.Size]], is_complex: bool = False
    ) -> None:
        self.entries: list[Entry] = []
        self.size = 0
        self.is_complex = is_complex
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
        moving = [
            (name, group, tensor)
            for name, group, tensor in _state(model, spec.include)
            if group not in spec.ignore and any(fnmatchcase(name, pattern) for pattern in patterns)
        ]
        # Complex ones first, which all have an even size: torch wants them at even places.
        moving.sort(key=lambda entry: not entry[2].is_complex())
        layout = cls(
            [(name, group, reals(tensor).shape) for name, group, tensor in moving],
            any(tensor.is_complex() for _, _, tensor in moving),
        )
        if not layout.entries:
            raise UserError(
                f"directions: nothing moves, since no entry of the model matches parameters "
                f"{spec.parameters!r} beside ignore {list(spec.ignore)}; its entries are "
                f"{', '.join(name for name, _, _ in _state(model, spec.include))[:200]}"
            )
        return layout

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """The real numbers of a model's moving entries, by name."""
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        return {entry.name: reals(state[entry.name]) for entry in self.entries}

    def flatten(self, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """One vector, shape (size,), of named tensors; zeros where a name is absent."""
        flat = torch.zeros(self.size, dtype=dtype)
        self.write(tensors, flat)
        return flat

    def write(self, tensors: Mapping[str, Tensor], flat: Tensor) -> None:
        """Put named tensors into a vector, shape (size,); where a name is absent it stays."""
        for entry in self.entries:
            if entry.name in tensors:
                flat[entry.begin : entry.end] = reals(tensors[entry.name]).reshape(-1)

    def read(self, tensors: Mapping[str, Tensor], begin: int, part: Tensor) -> None:
        """Read a part of the vector of named tensors, from its element `begin` on, all present."""
        end = begin + part.numel()
        for entry in self.entries:
            first, last = max(begin, entry.begin), min(end, entry.end)
            if first < last:
                numbers = reals(tensors[entry.name]).reshape(-1)
                numbers = numbers[first - entry.begin : last - entry.begin]
                part[first - begin : last - begin] = numbers

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The real numbers of the entries by name, in their shapes, as parts of a flat vector."""
        return {e.name: flat[e.begin : e.end].view(e.shape) for e in self.entries}

    def bind(self, model: nn.Module, flat: Tensor) -> None:
        """Make the model's entries views of a flat vector, so that writing it moves the model."""
        views = self.views(flat)
        for name, parameter in model.named_parameters():
            if name in views:
                parameter.data = _as(views[name], parameter)
        tied = {id(b): _as(views[name], b) for name, b in model.named_buffers() if name in views}
        for name, buffer in list(model.named_buffers(remove_duplicate=False)):
            if id(buffer) in tied:
                path, _, leaf = name.rpartition(".")
                model.get_submodule(path)._buffers[leaf] = tied[id(buffer)]


def reals(tensor: Tensor) -> Tensor:
    """The real numbers that a tensor holds, without its gradient.

    Of complex ones real and imaginary parts in turn: the last dimension is twice as long. So a
    filter's norm is what it is, and a bias stays one row.
    """
    tensor = tensor.detach()
    if not tensor.is_complex():
        return tensor
    return torch.view_as_real(tensor.resolve_conj().reshape(tensor.shape or (1,))).flatten(-2)


def _as(numbers: Tensor, tensor: Tensor) -> Tensor:
    """A view of real numbers as what a tensor holds."""
    if not tensor.is_complex():
        return numbers
    return torch.view_as_complex(numbers.view(*numbers.shape[:-1], -1, 2)).view(tensor.shape)


def _state(
    model: nn.Module, include: Literal["parameters", "state"]
) -> Iterator[tuple[str, Group, Tensor]]:
    """Every parameter of real or complex numbers, and with `state` every such buffer."""
    norms = tuple(name for name, module in model.named_modules() if isinstance(module, NORMS))
    tensors: list[tuple[str, Tensor]] = list(model.named_parameters())
    if include == "state":
        tensors += list(model.named_buffers())
    for name, tensor in tensors:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        if name.rpartition(".")[0] in norms:
            yield name, "norm", tensor
        else:
            yield name, "weight" if tensor.dim() > 1 else "bias", tensor

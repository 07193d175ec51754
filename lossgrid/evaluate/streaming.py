"""Data on its device, or in part, or streamed to it where it would take too much memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lossgrid.data import Split
from lossgrid.evaluate.batches import Member, batches, shared
from lossgrid.evaluate.memory import DATA_SHARE, available, held

ALONE = Member()


def placed(
    splits: list[Split], device: torch.device, batch_size: int = 1, member: Member = ALONE
) -> list[Split]:
    """Data in its storage type (uint8 images stay uint8 until they are read).

    Args:
        splits: in the host's memory.
        device: where they are used.
        batch_size: samples a batch.
        member: what of them is used most: its batches.

    Returns: all of them on the device if there is room; else the member's batches, if there is
        room for these; else none.
    """
    room = DATA_SHARE * available(device, member.sharers) if device.type == "cuda" else math.inf
    if held(splits) <= room:
        return [_on(device, split) for split in splits]
    cut = [list(batches(len(split), batch_size)) for split in splits]
    own = [
        (some[0].begin, some[-1].end) if some else (0, 0)
        for some in shared(cut, member.place, member.count)
    ]
    parts = [Split(*split.rows(*rows)) for split, rows in zip(splits, own, strict=True)]
    if held(parts) > room:
        return [streamed(split, device) for split in splits]
    return [
        Held(split.inputs, split.targets, split.prepare, part=_on(device, part), rows_held=rows)
        for split, part, rows in zip(splits, parts, own, strict=True)
    ]


@dataclass(frozen=True)
class Held(Split):
    """A split in the host's memory, of which some samples are on a GPU as well.

    The others are copied there each time: they are wanted only once another rank is lost.

    Attributes:
        part: samples on the GPU.
        rows_held: which of the split they are, [begin, end).
    """

    part: Split = field(kw_only=True)
    rows_held: tuple[int, int] = field(kw_only=True)

    def rows(self, begin: int, end: int) -> tuple[Any, Any]:
        """See `Split`."""
        first, last = self.rows_held
        if first <= begin and end <= last:
            return self.part.rows(begin - first, end - first)
        device = tree_leaves(self.part.inputs)[0].device
        inputs, targets = tree_map(lambda leaf: leaf.to(device), super().rows(begin, end))
        return inputs, targets


def streamed(split: Split, device: torch.device) -> Streamed:
    """A split that stays in the host's memory, from where a GPU can copy it by itself."""
    pinned = _mapped(split, Tensor.pin_memory)
    return Streamed(pinned.inputs, pinned.targets, pinned.prepare, copier=Copier(device))


@dataclass(frozen=True)
class Streamed(Split):
    """A split in the host's memory, whose rows are copied to a GPU."""

    copier: Copier = field(kw_only=True)

    def rows(self, begin: int, end: int) -> tuple[Any, Any]:
        """See `Split`; they hold until the rows after the next are asked for."""
        return self.copier(self, begin, end)


class Copier:
    """Copies a split's batches to a GPU, each while the one before it is used.

    There are two sets of buffers, one in use and one that is being filled on a stream of its own.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._sets: list[Any] = [None, None]
        self._used = 0
        self._ahead: tuple[int, int] | None = None

    def __call__(self, split: Split, begin: int, end: int) -> tuple[Any, Any]:
        """Rows [begin, end), on the device as far as the current stream is concerned."""
        if self._ahead != (begin, end):
            self._copy(split, begin, end)
        self._used = 1 - self._used
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        self._copy(split, *following(begin, end, len(split)))
        rows: tuple[Any, Any] = self._sets[self._used]
        return rows

    def _copy(self, split: Split, begin: int, end: int) -> None:
        """Fill the set that is not in use; whoever used it last is on the current stream."""
        rows = Split.rows(split, begin, end)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream), torch.inference_mode(False):
            filled = self._sets[1 - self._used]
            if filled is None or _shapes(filled) != _shapes(rows):
                filled = tree_map(self._buffer, rows)
                self._sets[1 - self._used] = filled
            for own, row in zip(tree_leaves(filled), tree_leaves(rows), strict=True):
                own.copy_(row, non_blocking=True)
        self._ahead = (begin, end)

    def _buffer(self, row: Tensor) -> Tensor:
        return torch.empty_like(row, device=self._device)


def following(begin: int, end: int, count: int) -> tuple[int, int]:
    """The batch after one of `lossgrid.evaluate.batches`; the first again after the last."""
    size = end - begin
    last = min(end + size, count) if end < count else size
    return last - size, last


def _on(device: torch.device, split: Split) -> Split:
    return _mapped(split, lambda leaf: leaf.to(device))


def _mapped(split: Split, change: Any) -> Split:
    inputs, targets = (tree_map(change, tree) for tree in (split.inputs, split.targets))
    return replace(split, inputs=inputs, targets=targets)


def _shapes(rows: Any) -> list[torch.Size]:
    return [leaf.shape for leaf in tree_leaves(rows)]

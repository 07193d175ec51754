"""Operations on a GPU that are recorded once and then launched together, as a CUDA graph.

Launching an operation takes microseconds, and one on a small batch no longer.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Runs before recording, as torch does: libraries choose kernels and take memory at first use."""


class Captured:
    """A function of tensors, recorded at its first call.

    Recorded operations read and write the same memory every time. The last arguments are copied to
    where they are read; the others must be the same tensors at each call, or it is recorded anew.
    Results hold until the next call.

    Args:
        function: of tensors, to a tuple; it must not look at a value.
        copied: how many of its last arguments are copied.
        device: a GPU.
    """

    def __init__(
        self, function: Callable[..., tuple[Any, ...]], copied: int, device: torch.device
    ) -> None:
        self._function = function
        self._copied = copied
        self._device = device
        self._still: tuple[Tensor, ...] | None = None
        self._graph: torch.cuda.CUDAGraph
        self._inputs: list[Tensor] = []
        self._results: tuple[Any, ...] = ()

    def __call__(self, *arguments: Tensor) -> tuple[Any, ...]:
        """Results for these arguments."""
        begin = len(arguments) - self._copied
        still, moving = arguments[:begin], arguments[begin:]
        if self._still is None or not all(map(is_, still, self._still)):
            self._record(still, moving)
        for own, given in zip(self._inputs, moving, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._results

    def _record(self, still: tuple[Tensor, ...], moving: tuple[Tensor, ...]) -> None:
        """As torch's notes on CUDA graphs have it: warm up on another stream, then capture."""
        self._inputs = [one.clone() for one in moving]
        with torch.cuda.device(self._device):
            side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            current = torch.cuda.current_stream()
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self._function(*still, *self._inputs)
            current.wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._results = self._function(*still, *self._inputs)
        self._still = still

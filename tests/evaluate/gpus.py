"""What stands in for a GPU's streams and graphs on a CPU, such that a mistake shows in values.

It shows that the right memory is read and written in the right order. It says nothing of kernels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]


class Recorder(TorchDispatchMode):
    """Takes down every operation, with the memory that it reads and writes."""

    def __init__(self, calls: list[Call]) -> None:
        super().__init__()
        self._calls = calls

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host may not wait for a value during capture")
        made = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, made))
        return made


class Graph:
    """Does what was recorded again, in the same memory."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, before in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(before), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@contextmanager
def capture(graph: Graph) -> Iterator[None]:
    """What runs in it is recorded; unlike on a GPU it runs as well."""
    with Recorder(graph.calls):
        yield


class Stream:
    """A queue of work.

    Lazy work is done when somebody waits for it, and no sooner: a wait that is missing shows. Eager
    work is done at once: so does memory that is overwritten while it is in use.
    """

    lazy = False

    def __init__(self, device: Any = None) -> None:
        self.work: deque[Callable[[], Any]] = deque()
        self.waits = 0

    def wait_stream(self, other: Stream) -> None:
        self.waits += 1
        while other.work:
            other.work.popleft()()


class Enqueue(TorchDispatchMode):
    """Puts copies on a stream."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.copy_.default and self._stream.lazy:
            self._stream.work.append(lambda: func(*args, **(kwargs or {})))
            return args[0]
        return func(*args, **(kwargs or {}))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """torch.cuda's streams and graphs, replaced; returns the graphs that are recorded."""
    graphs: list[Graph] = []

    def made() -> Graph:
        graphs.append(Graph())
        return graphs[-1]

    current = Stream()
    for name, value in {
        "CUDAGraph": made,
        "graph": capture,
        "device": lambda device: nullcontext(),
        "Stream": Stream,
        "stream": Enqueue,
        "current_stream": lambda device=None: current,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(Tensor, "pin_memory", Tensor.clone)
    return graphs

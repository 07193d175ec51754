"""Objects of this process under names that a job can have: `lossgrid.api.given:model` and so on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_PER_THREAD = threading.local()  # a job is loaded on the thread that it was begun on


@contextmanager
def given(callables: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Within, on this thread, a job reaches `callables` by the names that `spec` gives."""
    before = getattr(_PER_THREAD, "callables", {})
    _PER_THREAD.callables = dict(callables)
    try:
        yield
    finally:
        _PER_THREAD.callables = before


def spec(name: str) -> str:
    """How a job names one of them."""
    return f"{__name__}:{name}"


def __getattr__(name: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = getattr(_PER_THREAD, "callables", {})[name]
    except KeyError:
        raise AttributeError(
            f"{name!r} was handed over by a program, which has to run again"
        ) from None
    return found

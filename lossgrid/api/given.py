"""Objects of this process under names that a job can have: `lossgrid.api.given:model` and so on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_PER_THREAD = threading.local()  # a job is loaded on the thread that it was begun on


@contextmanager
def given(handed: Mapping[str, Any]) -> Iterator[None]:
    """Within, on this thread, a job reaches what is handed over by the names that `spec` gives."""
    before = getattr(_PER_THREAD, "handed", {})
    _PER_THREAD.handed = dict(handed)
    try:
        yield
    finally:
        _PER_THREAD.handed = before


def spec(name: str) -> str:
    """How a job names a part of it, such as model or metrics.top5."""
    return f"{__name__}:{name}"


def __getattr__(name: str) -> Any:
    try:
        return getattr(_PER_THREAD, "handed", {})[name]
    except KeyError:
        raise AttributeError(
            f"{name!r} was handed over by a program, which has to run again"
        ) from None

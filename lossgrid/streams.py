"""Text for people, written whether or not it can reach them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

UNWRITABLE = (OSError, ValueError)
"""What writing raises to a full disk, a broken pipe, or a stream that has been closed."""


@contextmanager
def unfailing() -> Iterator[None]:
    """Within, a text for stdout or stderr that can't be written is lost, and nothing else.

    That holds for what all code prints, that of the user and of libraries included.
    """
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Unfailing(out), _Unfailing(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        for stream in (out, err):
            _let_go(stream)


class _Unfailing:
    """A text stream, or the None that Python has for a missing one; all but writing is its own."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        if self._stream is not None:
            with suppress(*UNWRITABLE):
                self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write what can be written of each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what can be flushed."""
        if self._stream is not None:
            with suppress(*UNWRITABLE):
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _let_go(stream: TextIO | None) -> None:
    """What a stream still holds must not fail at Python's end, which would be the exit status."""
    if stream is None:
        return
    try:
        stream.flush()
    except UNWRITABLE:
        with suppress(*UNWRITABLE), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())

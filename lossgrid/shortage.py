"""A lack of memory, told as what it is, whoever meets it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lossgrid.errors import OutOfMemoryError, summary

SAID = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "ALLOC_FAILED",
)
"""By torch and the libraries below it, in errors of no kind of their own."""


@contextmanager
def shortage_named() -> Iterator[None]:
    """In which a lack of memory is one kind of error.

    Raises:
        OutOfMemoryError: instead of the error that torch, NumPy or Python raise, or of one that
            was made of that.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        shortage = _beneath(error)
        if shortage is None:
            raise
        raise OutOfMemoryError(f"out of memory: {summary(shortage).rstrip('.')}") from error


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """In which something is loaded, before there is a plan that could be made smaller.

    Args:
        what: that is, as the user knows it.

    Raises:
        OutOfMemoryError: if it does not fit; it says what would help.
    """
    try:
        with shortage_named():
            yield
    except OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{what}: {error}; use fewer samples of the data, start fewer ranks a node, or see "
            "what else takes memory there"
        ) from error


def _beneath(error: BaseException | None) -> BaseException | None:
    """The lack of memory that an error was made of; none if there was enough."""
    while error is not None and not _is_shortage(error):
        error = error.__cause__
    return error


def _is_shortage(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    said = summary(error)
    return isinstance(error, RuntimeError) and any(text in said for text in SAID)

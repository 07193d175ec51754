"""The exceptions that a user is meant to read, and how any exception is told in one line."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or a broken surrounding, told in one sentence: what, where, how to mend it.

    Exit status 2.
    """


class StorageError(UserError):
    """What has been computed can't be stored: nobody's points are at fault."""


class OutOfMemoryError(UserError):
    """Memory does not suffice for what a plan does at a time; a smaller one may do."""


class DroppedError(Exception):
    """The point in work was dropped unfinished, since the run is to stop; it stays pending."""


class RunFailedError(Exception):
    """The run itself broke down; what was stored is safe. Exit status 1."""


def summary(error: BaseException) -> str:
    """Return an exception's type and message on one line that can be stored and printed.

    Never raises: the exception may be the user's own, and its message anything.
    """
    try:
        message = " ".join(str(error).split())
    except Exception as unsaid:
        message = f"(its message raises {type(unsaid).__name__})"
    if len(message) > 300:
        message = message[:300] + " ..."
    line = f"{type(error).__name__}: {message}"
    return line.encode(errors="backslashreplace").decode()  # it may hold lone surrogates

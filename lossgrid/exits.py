"""Exit statuses of a run, and of what watches one."""

from lossgrid.errors import RunFailedError, UserError

COMPLETE, BROKE_DOWN, BAD_INPUT, SOME_FAILED, UNFINISHED = 0, 1, 2, 3, 75
"""75 (EX_TEMPFAIL) means: run the same command again."""


def status_of(failure: UserError | RunFailedError) -> int:
    """With which status a failure ends the process."""
    return BROKE_DOWN if isinstance(failure, RunFailedError) else BAD_INPUT

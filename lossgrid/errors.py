"""The one exception that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or a broken surrounding, told in one sentence: what, where, how to mend it.

    The command line prints it without a traceback and exits with status 2.
    """

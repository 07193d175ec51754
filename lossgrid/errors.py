"""The exceptions that a user is meant to read: the command line prints them as one sentence."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or a broken surrounding, told in one sentence: what, where, how to mend it.

    Exit status 2.
    """


class RunFailedError(Exception):
    """The run itself broke down; what was stored is safe. Exit status 1."""

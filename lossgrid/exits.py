"""Exit statuses of a run, and of what watches one."""

COMPLETE, SOME_FAILED, UNFINISHED = 0, 3, 75
"""75 (EX_TEMPFAIL) means: run the same command again."""

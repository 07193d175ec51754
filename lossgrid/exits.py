"""Exit statuses of a run, and of what watches one."""

COMPLETE, BROKE_DOWN, BAD_INPUT, SOME_FAILED, UNFINISHED = 0, 1, 2, 3, 75
"""75 (EX_TEMPFAIL) means: run the same command again."""

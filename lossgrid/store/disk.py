"""Asking the disk to keep what was written, and saying why it did not."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path


def fsync(path: Path) -> None:
    """Return when a file's data, or a folder's entries, would survive a power loss.

    Raises:
        OSError: the disk did not take it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: Exception) -> str:
    """The system's own words out of an error, also one that HDF5 has wrapped."""
    wrapped = re.search(r"errno = (\d+)", str(error))
    number = int(wrapped.group(1)) if wrapped else getattr(error, "errno", None) or 0
    return os.strerror(number) if number in errno.errorcode else str(error)

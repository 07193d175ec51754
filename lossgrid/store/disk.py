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


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)


def reason(error: Exception) -> str:
    """The system's own words out of an error, also one that HDF5 or MPI has wrapped."""
    text = " ".join(str(error).split())
    wrapped = re.search(r"errno = (\d+)", text)
    number = int(wrapped.group(1)) if wrapped else getattr(error, "errno", None)
    if number is None:
        number = next((number for number in DISK_ERRORS if os.strerror(number) in text), None)
    return text if number is None else os.strerror(number)

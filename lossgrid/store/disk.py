"""Having the disk keep what was written, and saying why it did not."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from lossgrid.errors import UserError


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


def rewrite_first_byte(path: Path) -> None:
    """See that a file takes what is written, by what it holds already.

    Raises:
        OSError: it does not.
    """
    handle = os.open(path, os.O_RDWR)
    try:
        os.pwrite(handle, os.pread(handle, 1, 0), 0)
    finally:
        os.close(handle)


def filesystem(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The kind of file system that holds a file or is to hold it, as Linux calls it: ext4, nfs4.

    Returns: None if Linux does not say, as of a part of a btrfs.
    """
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    device = there.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        own, _, described = line.partition(" - ")
        if own.split()[2] == number:
            return described.split()[0]
    return None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside another, whose place it takes once the disk has all of it.

    Raises:
        OSError: the disk does not take it.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        yield fresh
        fsync(fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    fsync(path.parent)


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)


def reason(error: Exception) -> str:
    """The system's own words out of an error, also one that HDF5 or MPI has wrapped."""
    text = " ".join(str(error).split())
    wrapped = re.search(r"errno = (\d+)", text)
    number = int(wrapped.group(1)) if wrapped else getattr(error, "errno", None)
    if number is None:
        number = next((number for number in DISK_ERRORS if os.strerror(number) in text), None)
    return text if number is None else os.strerror(number)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Tell in one sentence why a results file does not take what is written.

    Raises:
        UserError: the disk is full or broken, or the file is damaged or not to be written.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: the results file has been removed; run the job again") from error
    except KeyError as error:
        raise UserError(
            f"{path}: is damaged: {reason(error)}; restore it from a copy, or start anew with "
            "--overwrite"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:  # h5py has all three for a full disk
        raise UserError(
            f"{path}: results can't be stored: {reason(error)}; what is stored is safe: mend "
            "that, then run the same command again"
        ) from error


def check_writable(path: Path) -> None:
    """See whether this rank may write a results file, before all ranks open it together.

    Raises:
        UserError: it may not, or the file is not there.
    """
    with storing(path):
        os.close(os.open(path, os.O_RDWR))


class Syncing:
    """Has the disk take what was written, from time to time, on a thread: fsync can be slow."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._last = time.monotonic()
        self._thread: Thread | None = None
        self._failure: OSError | None = None

    def soon(self) -> None:
        """Begin an fsync if the last one is long enough ago; raises what that one met."""
        self._raise_failure()
        idle = self._thread is None or not self._thread.is_alive()
        if idle and time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            self._thread = Thread(target=self._try, name="fsync", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Fsync now, and wait for it; raises what this one or one before met."""
        if self._thread is not None:
            self._thread.join()
        self._raise_failure()  # the system tells of lost pages only once
        fsync(self._path)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _try(self) -> None:
        try:
            fsync(self._path)
        except OSError as error:
            self._failure = error

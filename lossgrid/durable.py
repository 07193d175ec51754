"""Writing a file such that nothing can leave half of it."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def durable(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which becomes ``path`` once all is written and the disk has it.

    Whatever happens, ``path`` holds all of it or does not change. Its folder is made if there is
    none; what killed processes of this host have left of it beside it is removed.

    Raises:
        OSError: the disk does not take it.
    """
    prefix = f".{path.name}.{os.uname().nodename}."
    temporary = path.with_name(f"{prefix}{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(prefix, path.parent)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _remove_abandoned(prefix: str, folder: Path) -> None:
    """Remove what dead processes have begun under a name."""
    for file in folder.glob(f"{glob.escape(prefix)}*.tmp"):
        process = file.name[len(prefix) : -len(".tmp")]
        if process.isdigit() and not Path("/proc", process).exists():
            file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power loss, before anything is written that counts on it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lossgrid.store import disk
from lossgrid.store.disk import Syncing


def test_a_disk_that_once_lost_what_was_written_is_told_of_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells of that once; what is asked for afterwards succeeds."""
    failures = [OSError(errno.EIO, "Input/output error")]

    def fsync(path: Path) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(disk, "fsync", fsync)
    syncing = Syncing(tmp_path, seconds=0)
    syncing.soon()
    with pytest.raises(OSError, match="Input/output error"):
        syncing.wait()
    assert not failures

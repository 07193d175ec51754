from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from lossgrid.store import disk
from lossgrid.store.disk import Syncing, filesystem


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


@pytest.mark.parametrize("path", ["/", "/proc/1", "/dev/shm", "/dev/null", None])
def test_the_file_system_is_what_the_system_says(path: str | None, tmp_path: Path) -> None:
    """Also of a file that is not there yet."""
    place = Path(path) if path else tmp_path
    asked = ["findmnt", "--noheadings", "--first-only", "--output", "FSTYPE", "--target", place]
    said = subprocess.check_output(asked, text=True).strip()
    assert filesystem(place) == said
    if place.is_dir():
        assert filesystem(place / "out" / "toy.vtkhdf") == said


def test_a_mounted_share_is_known_by_its_device(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    (tmp_path / "mounts").write_text(
        "22 27 0:9999 / /a rw,relatime - ext4 /dev/vda rw\n"
        f"36 27 {os.major(device)}:{os.minor(device)} / /b rw shared:1 - nfs4 host:/b rw,vers=4.2\n"
    )
    assert filesystem(tmp_path / "out.vtkhdf", tmp_path / "mounts") == "nfs4"
    (tmp_path / "mounts").write_text("")
    assert filesystem(tmp_path, tmp_path / "mounts") is None
    assert filesystem(tmp_path, tmp_path / "none") is None

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lossgrid.durable import durable


def test_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with durable(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with durable(path) as file:
            file.write(b"new")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from lossgrid.durable import durable
with durable(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_removed_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    other = tmp_path / f".other.{os.uname().nodename}.1.tmp"
    other.touch()
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    assert not path.exists()
    with durable(path) as file:
        file.write(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([other, path])

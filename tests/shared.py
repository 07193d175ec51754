"""Real data that is not part of the project: a folder that a developer or CI may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_file(name: str) -> Path:
    """A file below ``data/`` of the shared folder; the test is skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("LOSSGRID_SHARED", beside)) / "data" / name
    if not path.exists():
        pytest.skip(f"no {path}: LOSSGRID_SHARED names the folder of real data")
    return path

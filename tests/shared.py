"""Real data that is not part of the project: a folder beside it that a developer or CI may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_file(name: str) -> Path:
    """A file below ``data/`` of the shared folder.

    The test is skipped where there is none, and fails where LOSSGRID_SHARED promises it.
    """
    promised = os.environ.get("LOSSGRID_SHARED")
    folder = Path(promised) if promised else Path(__file__).resolve().parents[2] / "shared"
    path = folder / "data" / name
    if not path.exists():
        reason = f"no {path}: LOSSGRID_SHARED names the folder of real data"
        if promised:
            pytest.fail(reason)
        pytest.skip(reason)
    return path

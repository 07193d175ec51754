"""What a test needs and this machine lacks."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skip the test, or fail it where LOSSGRID_REQUIRE_ALL promises that everything is there."""
    if os.environ.get("LOSSGRID_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)

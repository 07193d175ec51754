"""One real SLURM for all tests that want it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import missing, slurm


@pytest.fixture(scope="package")
def cluster() -> Iterator[None]:
    """SLURM's commands find a cluster of virtual nodes; see `tests.cluster.slurm`."""
    if lacking := missing():
        reason = f"no {', '.join(lacking)}: `make system` installs SLURM"
        if os.environ.get("LOSSGRID_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm():
        yield

"""One real SLURM for all tests that want it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.absent import absent
from tests.cluster.slurm import missing, slurm


@pytest.fixture(scope="package")
def cluster() -> Iterator[None]:
    """SLURM's commands find a cluster of virtual nodes; see `tests.cluster.slurm`."""
    if lacking := missing():
        absent(f"no {', '.join(lacking)}: `make system` installs SLURM")
    with slurm():
        yield

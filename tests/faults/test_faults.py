"""A round of each fault; `make soak` plays many (benchmarks/soak.py)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lossgrid.exits import BAD_INPUT
from tests.absent import absent
from tests.faults.faults import FAULTS, Fault
from tests.faults.harness import Harness, installed

SEED = 0


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("faults"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FAULTS)
def test_stored_points_outlive(name: str, harness: Harness, tmp_path: Path) -> None:
    fault = FAULTS[name]
    if not installed(fault):
        absent("no environment for it: `make environments` creates them")
    if fault.small_disk and not can_mount(tmp_path):
        pytest.skip("only root can have a small disk")
    outcome = harness.play(name, 0, SEED)
    assert not outcome.objections
    assert outcome.struck or not is_of_disk(fault), "no call has failed"


def is_of_disk(fault: Fault) -> bool:
    return fault.shim is not None and BAD_INPUT in (fault.ends or ())


def can_mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "tmpfs", folder]
    mount = subprocess.run(command, check=False, capture_output=True)
    if mount.returncode == 0:
        subprocess.run(["umount", folder], check=True)
    return mount.returncode == 0

"""What a rank sees to before it joins the others."""

from __future__ import annotations

import os

import pytest

from lossgrid.engine.world import _keep_addresses_short

BOTH = "MPICH Version: 5.0.2\nMPICH Device: ch4:ucx ofi\n"
UCX = "MPICH Version: 4.0.2\nMPICH Device: ch4:ucx\nMPICH configure: --with-libfabric=/usr ofi\n"
OTHER = "Open MPI v5.0.8, package: Open MPI ucx ofi\n"


@pytest.mark.parametrize(
    ("banner", "before", "after"),
    [
        (BOTH, {"SLURM_JOB_ID": "7"}, "ofi"),
        (BOTH, {}, None),
        (BOTH, {"SLURM_JOB_ID": "7", "MPIR_CVAR_CH4_NETMOD": "ucx"}, "ucx"),
        (UCX, {"SLURM_JOB_ID": "7"}, None),
        (OTHER, {"SLURM_JOB_ID": "7"}, None),
    ],
)
def test_mpich_takes_libfabric_in_a_slurm_job(
    monkeypatch: pytest.MonkeyPatch, banner: str, before: dict[str, str], after: str | None
) -> None:
    """Unless the user says otherwise, or its build has none."""
    for name in ("SLURM_JOB_ID", "MPIR_CVAR_CH4_NETMOD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    _keep_addresses_short(banner)
    assert os.environ.get("MPIR_CVAR_CH4_NETMOD") == after

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.install_torch import has_nvidia_gpu, index_serves_cpu_build


def serve(folder: Path, monkeypatch: pytest.MonkeyPatch, *versions: str) -> None:
    """Make a folder of wheels all that pip knows (it lists versions by file name)."""
    for version in versions:
        (folder / f"torch-{version}-py3-none-any.whl").touch()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["2.13.0+cpu"], True),
        (["2.13.0", "2.13.0+cpu"], True),
        (["2.13.0"], False),
        (["2.13.0+cu130"], False),
        (["2.12.0+cpu", "12.13.0+cpu", "2.13.0"], False),
        ([], False),
    ],
)
def test_a_cpu_build_is_seen_by_its_version(
    versions: list[str], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(tmp_path, monkeypatch, *versions)
    assert index_serves_cpu_build("torch==2.13.0") is expected


@pytest.mark.skipif(
    Path("/proc/driver/nvidia/version").exists(), reason="this machine has the NVIDIA driver"
)
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'", True),
        ("echo 'No devices found.'", False),
        ("echo 'driver not loaded' >&2; exit 9", False),
        (None, False),
    ],
)
def test_a_gpu_is_what_nvidia_smi_lists(
    script: str | None, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert has_nvidia_gpu() is expected

"""Install the torch build that fits this machine into the environment that runs this file.

    .venv/bin/python tools/install_torch.py                  # choose (see below)
    .venv/bin/python tools/install_torch.py torch==2.13.0    # pip's arguments, chosen by the user
    .venv/bin/python tools/install_torch.py ""               # install nothing

On Linux the default package index serves torch with gigabytes of CUDA packages. They are installed
only where there is an NVIDIA GPU, or where the user asks; a machine without one gets the CPU build.
A torch that is already there is always kept.
"""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

TORCH = "torch==2.13.0"


def main() -> None:
    """Install torch as the command line says."""
    chosen = sys.argv[1:2]
    if find_spec("torch") is not None:
        return
    if chosen:
        arguments = shlex.split(chosen[0])
        if arguments:
            _pip("install", *arguments)
    elif _is_plain_install_right():
        _pip("install", TORCH)
    else:
        _install_cpu_build()


def _is_plain_install_right() -> bool:
    return platform.system() != "Linux" or has_nvidia_gpu() or index_serves_cpu_build(TORCH)


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver is loaded, or nvidia-smi lists a GPU."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], check=False, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU 0" in listing.stdout


def index_serves_cpu_build(requirement: str) -> bool:
    """Whether pip, as configured, would take `+cpu` builds for a pinned requirement.

    Asks for the list of versions only: `pip install --dry-run` may download every wheel it names.
    A local version such as 2.13.0+cpu sorts after 2.13.0, so pip prefers it where both are served.
    """
    name, version = requirement.split("==")
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", name],
        check=False,
        capture_output=True,
        text=True,
    )
    served = re.search("^Available versions: (.*)$", listing.stdout, re.MULTILINE)
    return served is not None and f"{version}+cpu" in served.group(1).split(", ")


def _install_cpu_build() -> None:
    # uv knows where torch's CPU builds are served, so no address needs to be named here.
    print(f"No NVIDIA GPU: installing the CPU build of {TORCH}.", flush=True)
    _pip("install", "--quiet", "uv")
    uv = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
    if (
        subprocess.run([*uv, "--no-deps", "--torch-backend=cpu", TORCH], check=False).returncode
        != 0
    ):
        sys.exit(
            f"The CPU build of {TORCH} could not be installed. Choose a build yourself, for "
            f'example: make run TORCH="{TORCH}" (the default index; with CUDA on Linux).'
        )


def _pip(*arguments: str) -> None:
    if subprocess.run([sys.executable, "-m", "pip", *arguments], check=False).returncode != 0:
        sys.exit(f"pip {shlex.join(arguments)} failed: see its messages above.")


if __name__ == "__main__":
    main()

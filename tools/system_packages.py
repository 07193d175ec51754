"""Install the Debian/Ubuntu packages that the test suite needs, or name those that are missing.

Installs with apt-get as root or with a sudo that asks for no password; otherwise exits 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

PACKAGES = (
    *("gcc", "g++", "libc6-dev"),
    *("mpich", "libmpich-dev", "libhdf5-mpich-dev"),
    *("openmpi-bin", "libopenmpi-dev", "libhdf5-openmpi-dev"),
    *("slurmctld", "slurmd", "slurm-client", "munge", "libpmix-dev"),
    "chromium",
    *("paraview", "python3-paraview", "xvfb", "xauth", "libegl1", "libgl1-mesa-dri"),
)


def main() -> None:
    """Bring the packages onto the machine."""
    missing = [name for name in (*PACKAGES, *_python_packages()) if not _is_installed(name)]
    if not missing:
        return
    prefix = _root_prefix()
    if prefix is None or shutil.which("apt-get") is None:
        sys.exit(
            f"The tests need these Debian/Ubuntu packages, which are missing: {' '.join(missing)}\n"
            f"Have them installed:  sudo apt-get install {' '.join(missing)}"
        )
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    # A stale third-party list is no reason to stop: what matters is whether the install works.
    subprocess.run([*apt, "update"], check=False, stdout=subprocess.DEVNULL)
    install = [*apt, "-o", "Dpkg::Use-Pty=0", "install", "--no-install-recommends", *missing]
    if subprocess.run(install, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"apt-get could not install {' '.join(missing)}: see its messages above.")


def _python_packages() -> list[str]:
    """What a Debian Python leaves out of the standard library and of its headers."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    packages = {"python3-venv": find_spec("ensurepip"), "python3-dev": headers.exists()}
    return [name for name, present in packages.items() if not present]


def _is_installed(name: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", name]
    try:
        return (
            subprocess.run(query, check=False, capture_output=True, text=True).stdout == "installed"
        )
    except OSError:
        return False


def _root_prefix() -> list[str] | None:
    """What to put before a command to run it as root, or None where that takes a password."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    if (
        shutil.which("sudo")
        and subprocess.run([*sudo, "true"], check=False, capture_output=True).returncode == 0
    ):
        return sudo
    return None


if __name__ == "__main__":
    main()

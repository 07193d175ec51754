"""Find out what this machine offers to lossgrid, and how to get what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from lossgrid.cluster.launcher import PLUGINS, srun_plugins
from lossgrid.probe import (
    MPILibrary,
    library_of,
    output_of,
    own_mpirun,
    probe_mpi,
    run_probe,
)

_H5PY_PROBE = """
import json
try:
    import mpi4py
    mpi4py.rc.initialize = False
except ImportError:
    pass
import h5py
print(json.dumps({"h5py": h5py.version.version, "hdf5": h5py.version.hdf5_version,
                  "mpi": h5py.get_config().mpi}))
"""
_TORCH_PROBE = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "threads": torch.get_num_threads(), "gpus": gpus,
                  "capability": torch.backends.cpu.get_cpu_capability()}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    `found` says what is there, `remedy` in one sentence how to get what is not; it is empty when
    the status is `ok`. `missing` means that a feature does not work here, `warning` that it works
    with a limit or may fail.
    """

    name: str
    status: Literal["ok", "missing", "warning"]
    found: str
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Look at Python, torch, MPI, HDF5, GPUs, the viewers, SLURM and the machine.

    Takes seconds and never hangs: MPI, HDF5 and torch are loaded in child processes that are given
    up after `probe.PROBE_SECONDS`. Raises nothing: what cannot be found out is a finding, too.
    """
    torch = run_probe(_TORCH_PROBE)
    mpi = probe_mpi()
    return [
        _python(),
        _torch(torch),
        _gpus(torch),
        _mpi(mpi),
        _mpirun(mpi),
        _h5py(run_probe(_H5PY_PROBE)),
        _package("matplotlib", "figures: pip install 'lossgrid[view]'"),
        _package("vtk", "3-D pictures and ParaView's files: pip install 'lossgrid[vtk]'"),
        _program("ParaView", "paraview", "the results file opens in ParaView 5.13 or newer"),
        _slurm(mpi),
        _cores(),
        _memory(),
    ]


def report(findings: Sequence[Finding]) -> str:
    """The findings as text: one line each, and the remedy on a line below where there is one."""
    name_width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<7}  {finding.name:<{name_width}}  {finding.found}")
        if finding.remedy:
            lines.append(" " * (7 + 2 + name_width + 2) + finding.remedy)
    return "\n".join(lines)


def _python() -> Finding:
    return Finding("Python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _torch(probe: dict[str, Any]) -> Finding:
    if "error" in probe:
        return Finding("torch", "missing", probe["error"], "Install it: pip install torch.")
    found = f"{probe['version']}, {probe['capability']}, {probe['threads']} threads"
    return Finding("torch", "ok", found)


def _gpus(torch: dict[str, Any]) -> Finding:
    if torch.get("gpus"):
        return Finding("GPUs", "ok", ", ".join(torch["gpus"]))
    if shutil.which("nvidia-smi"):
        return Finding(
            "GPUs",
            "warning",
            "nvidia-smi is there, but torch sees no GPU",
            "Check with nvidia-smi that the driver works, and install a CUDA build of torch.",
        )
    return Finding("GPUs", "missing", "none: grids are evaluated on the CPU", "Nothing to install.")


def _mpi(probe: dict[str, Any]) -> Finding:
    if "error" in probe:
        return Finding(
            "MPI",
            "missing",
            probe["error"],
            "One process works without MPI; for more: pip install 'lossgrid[mpi]'.",
        )
    return Finding("MPI", "ok", f"{library_of(probe['library'])}, mpi4py {version('mpi4py')}")


def _mpirun(mpi: dict[str, Any]) -> Finding:
    path = shutil.which("mpirun")
    if path is None:
        return Finding(
            "mpirun", "missing", "none in PATH", "Activate the environment that holds your MPI."
        )
    launcher = library_of(output_of([path, "--version"]))
    if "error" in mpi:
        return Finding("mpirun", "warning", f"{launcher} at {path}", "mpi4py is missing: see MPI.")
    return compare_launcher(path, launcher, library_of(mpi["library"]))


def compare_launcher(path: str, launcher: MPILibrary, library: MPILibrary) -> Finding:
    """Tell whether the `mpirun` at `path` belongs to the MPI library that mpi4py loads.

    The launcher of another MPI starts N worlds of one rank each, all working on the same file.
    """
    if launcher == library:
        return Finding("mpirun", "ok", f"{launcher} at {path}")
    own = own_mpirun()
    return Finding(
        "mpirun",
        "warning",
        f"{launcher} at {path}, but mpi4py uses {library}",
        f"Start jobs with the mpirun of {library.family}: activate its environment, or type its "
        f"full path{f', {own}' if own else ''}.",
    )


def _h5py(probe: dict[str, Any]) -> Finding:
    if "error" in probe:
        return Finding("h5py", "missing", probe["error"], "Install it: pip install h5py.")
    found = f"{probe['h5py']}, HDF5 {probe['hdf5']}, "
    if probe["mpi"]:
        return Finding("h5py", "ok", found + "with MPI: every rank writes the results file")
    return Finding(
        "h5py",
        "warning",
        found + "without MPI: rank 0 writes the results file for all",
        "For parallel writing, build h5py against an HDF5 that has MPI: "
        "HDF5_MPI=ON CC=mpicc HDF5_DIR=... pip install --no-binary=h5py h5py.",
    )


def _package(name: str, remedy: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", "not installed", f"For {remedy}.")


def _program(name: str, command: str, purpose: str) -> Finding:
    path = shutil.which(command)
    if path is None:
        remedy = f"Install it or put it in PATH if you want it: {purpose}."
        return Finding(name, "missing", f"no {command} in PATH", remedy)
    return Finding(name, "ok", path)


def _slurm(mpi: dict[str, Any]) -> Finding:
    """Whether jobs can be submitted from here, and whether srun can start ranks of our MPI."""
    path = shutil.which("sbatch")
    if path is None:
        remedy = "Cluster jobs are submitted from a machine that has SLURM; install nothing for it."
        return Finding("SLURM", "missing", "no sbatch in PATH", remedy)
    found = f"{output_of([path, '--version']).strip()} at {path}"
    plugins = srun_plugins()
    if not plugins:
        remedy = "Ask your site which PMI it speaks, and tell 'lossgrid submit' with --launcher."
        return Finding("SLURM", "warning", f"{found}, srun lists no PMI plug-in", remedy)
    found += f", srun speaks {', '.join(sorted(plugins))}"
    family = None if "error" in mpi else library_of(mpi["library"]).family
    wanted = PLUGINS.get(family or "")
    if wanted is None or wanted in plugins:
        return Finding("SLURM", "ok", found)
    remedy = f"{family} wants {wanted}: 'lossgrid submit' uses mpirun inside the job instead."
    return Finding("SLURM", "warning", found, remedy)


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", "ok", f"{usable} usable of {os.cpu_count()}")


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return Finding("memory", "warning", "unknown", "It is read from /proc/meminfo, on Linux.")
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    gib = {name: kib[name] / 2**20 for name in ("MemAvailable", "MemTotal")}
    return Finding(
        "memory", "ok", f"{gib['MemAvailable']:.1f} GiB free of {gib['MemTotal']:.1f} GiB"
    )

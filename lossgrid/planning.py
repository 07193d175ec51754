"""`lossgrid plan`: what a job would do, measured on one point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils._pytree import tree_leaves

from lossgrid.engine import world as worlds
from lossgrid.job import read_job
from lossgrid.prepare import Prepared, prepare
from lossgrid.progress import clock


def plan(path: Path, overrides: Sequence[str], ranks: int) -> str:
    """Text that says points, plan, memory and predicted time; no results file is made.

    Args:
        path: of the job file.
        overrides: "key.path=value" settings.
        ranks: to predict the time for, each as fast as this process.

    Raises:
        UserError: bad input.
    """
    job = read_job(path, overrides)
    prepared = prepare(job, worlds.alone())
    prepared.measure_theta()  # the first call warms up
    values, seconds = prepared.measure_theta()
    ny, nx = prepared.grid.shape
    facts = {
        "job": str(job.path),
        "output": str(job.output),
        "grid": f"{nx} x {ny} = {nx * ny} points, coarse to fine",
        "directions": ", ".join(f"{k} {v:.4g}" for k, v in prepared.plane.geometry().items()),
        "moving": f"{prepared.plane.layout.size} numbers in {len(prepared.plane.layout.entries)}"
        " entries of the model",
        "at theta": ", ".join(f"{name} {value:.6g}" for name, value in values.items()),
        "plan": f"{prepared.plan.device} ({prepared.plan.hardware}), {prepared.plan.precision}, "
        f"batches of {prepared.plan.batch_size}",
        "memory": f"about {_megabytes(prepared):.0f} MB a rank beside the interpreter",
        "a point": f"{seconds:.3g} s here",
        "in all": f"{clock(seconds * nx * ny / ranks)} on {ranks} such rank(s)",
    }
    return "\n".join(f"{name + ':':<12}{fact}" for name, fact in facts.items())


def _megabytes(prepared: Prepared) -> float:
    """Data, and the corners of the plane with the weights that are moved."""
    leaves = [
        leaf
        for split in prepared.problem.splits.values()
        for leaf in (*tree_leaves(split.inputs), *tree_leaves(split.targets))
    ]
    corners = prepared.plane.corners
    weights = (len(corners) + 1) * corners[0].numel() * prepared.plan.dtype.itemsize
    data = sum(int(leaf.numel() * leaf.element_size()) for leaf in leaves)
    return (data + weights) / 1e6

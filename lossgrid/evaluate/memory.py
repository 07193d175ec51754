"""What a plan will take of memory, and what there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils._pytree import tree_leaves

from lossgrid.data import Split
from lossgrid.errors import UserError
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.widths import Widths
from lossgrid.problem import Problem
from lossgrid.space import Plane

LIVE = 4
"""Results as large as the widest that are there at a time: a sum has three, and needs room."""

DATA_SHARE = 0.5
"""Of a GPU's free memory that all data may take; the rest is for what the network makes of it."""

ENOUGH = 1 << 62
"""Where nothing says how much there is."""


def needed(plan: Plan, problem: Problem, plane: Plane, width: Widths, lanes: int, room: int) -> int:
    """Bytes that evaluating by a plan takes beyond data, plane and network as they are loaded.

    An estimate: weights at the points of a pass and in the form that layers want them, what all
    lanes make of a batch, and plane and data once more where they are copied to a GPU. Data that
    finds no room there is not.

    Args:
        plan: how points are evaluated.
        problem, plane: as loaded.
        width: of the network.
        lanes: batches that run at a time.
        room: bytes that there are.
    """
    item = plan.dtype.itemsize
    samples = max(len(split) for split in problem.splits.values())
    weights = 2 * plan.points_per_pass * plane.layout.size * item
    copied = 0
    if plan.device != "cpu":
        data = held(list(problem.splits.values()))
        copied = min(data, int(DATA_SHARE * room)) + plane.corners.nbytes
    batch = min(plan.batch_size, samples) * plan.points_per_pass * width.widest * item
    return weights + copied + lanes * LIVE * batch


def held(splits: Sequence[Split]) -> int:
    """Bytes that data take."""
    leaves = [leaf for split in splits for leaf in tree_leaves((split.inputs, split.targets))]
    return sum(leaf.nbytes for leaf in leaves)


def fitted(plan: Plan, need: Callable[[Plan], int], room: int, fixed: bool) -> Plan:
    """A plan that takes no more memory than there is: as it is, or with less at a time.

    Args:
        plan: what is hoped for.
        need: bytes that a plan takes.
        room: bytes that there are, on the rank that has least.
        fixed: whether the batch size may not be changed.

    Raises:
        UserError: even the smallest does not fit.
    """
    tried = plan
    while need(tried) > room:
        less = None if fixed else smaller(tried)
        if less is None:
            raise UserError(
                f"a rank needs {need(tried) / 1e6:.0f} MB of memory to compute a point in batches "
                f"of {tried.batch_size}, and {room / 1e6:.0f} MB are free for it; start fewer "
                "ranks a node, or use fewer samples"
                + (", or set evaluation.batch_size: auto" if fixed else "")
            )
        tried = less
    return tried


def smaller(plan: Plan) -> Plan | None:
    """A plan that takes less memory at a time: one point a pass, then half the batch.

    Returns: None if there is none.
    """
    if plan.points_per_pass > 1:
        return replace(plan, points_per_pass=1)
    return replace(plan, batch_size=plan.batch_size // 2) if plan.batch_size > 1 else None


def available(device: torch.device, sharers: int, root: Path = Path("/")) -> int:
    """Bytes that a rank may still take of its GPU or its host.

    Args:
        device: of the rank.
        sharers: ranks that use the same GPU or host.
        root: where the files of Linux are.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // sharers
    return min(_of_host(root), *_of_groups(root)) // sharers


def _of_host(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024
    except (OSError, ValueError):
        return ENOUGH


def _of_groups(root: Path) -> list[int]:
    """What the limits of the process's control groups leave, files in the cache not counted."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return [ENOUGH]
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    mount = root / "sys/fs/cgroup"
    groups = [mount / own.strip("/"), *(mount / own.strip("/")).parents]
    found = [ENOUGH]
    for group in groups:
        try:
            limit = int((group / "memory.max").read_text())
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        found.append(max(0, limit - used + int(stat.get("inactive_file", 0))))
    return found

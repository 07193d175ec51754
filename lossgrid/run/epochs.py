"""Plan epochs: how each point was evaluated, where memory made a run go on with a smaller plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.evaluate import Plan
from lossgrid.run.fingerprint import plan_parts, theta_values
from lossgrid.store import layout
from lossgrid.store.amend import write_epoch
from lossgrid.store.results import Results


def record(plan: Plan, theta: Mapping[str, float]) -> NDArray[Any]:
    """What an epoch has of its own, as the results file holds it: shape ().

    Args:
        plan: of the epoch.
        theta: values at theta by column.
    """
    row = (plan.batch_size, plan.points_per_pass, plan.network.encode(), tuple(theta.values()))
    return np.array(row, layout.epoch_record(list(theta)))


def plans(results: Results) -> list[Plan]:
    """How the points of each epoch were evaluated.

    Raises:
        UserError: see `Plan.from_json`.
    """
    first = Plan.from_json(results.plan)
    later = results.epochs[1:]
    sizes = zip(later["batch_size"].tolist(), later["points_per_pass"].tolist(), strict=True)
    return [first] + [
        replace(first, batch_size=batch, points_per_pass=points, network=network.decode())
        for (batch, points), network in zip(sizes, later["network"].tolist(), strict=True)
    ]


def theta_of(results: Results) -> dict[str, float]:
    """Values at theta in the last epoch by column; empty if the file has no place for epochs."""
    rows = results.epochs
    return {name: float(rows[-1]["theta"][name]) for name in rows["theta"].dtype.names or ()}


def fingerprint_of(results: Results) -> dict[str, str]:
    """What the results were made of in the last epoch."""
    if len(results.epochs) <= 1:
        return dict(results.fingerprint)
    own = plan_parts(plans(results)[-1]) | theta_values(theta_of(results))
    return dict(results.fingerprint) | own


def has_room(results: Results) -> bool:
    """Whether another epoch can be recorded."""
    return 0 < len(results.epochs) < layout.EPOCH_ROWS


def begin(results: Results, plan: Plan, theta: Mapping[str, float]) -> None:
    """Record that points are evaluated by another plan from now on.

    Raises:
        UserError: it can't be stored.
    """
    write_epoch(results, len(results.epochs), record(plan, theta))


def told(results: Results) -> str | None:
    """How many points were computed by which plan, in words; none if there is one plan."""
    if len(results.epochs) <= 1:
        return None
    used = plans(results)
    counted = zip(results.count_epochs().tolist(), used, strict=False)
    parts = "; ".join(f"{count} points by {plan.sizes}" for count, plan in counted)
    return f"{len(used)} plan epochs, since memory was short: {parts}"

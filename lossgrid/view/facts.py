"""What a landscape was computed of, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from lossgrid.view.snapshot import Snapshot


def facts(attributes: Mapping[str, str], snapshot: Snapshot) -> list[tuple[str, str]]:
    """Network, data, directions, grid, and when: what each is called, and what it was.

    Args:
        attributes: texts of the results file; what is not told there is left out.
        snapshot: of the landscape.
    """
    job = yaml.safe_load(attributes.get("job", "")) or {}
    told = {
        "Network": _network(job.get("model") or {}),
        "Data": ", ".join(job.get("data") or {}),
        "Directions": _directions(job.get("directions") or {}),
        "Grid": _grid(snapshot),
        "Begun": attributes.get("created", "")[:10],
    }
    return [(name, text) for name, text in told.items() if text]


def _network(model: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name}={value}" for name, value in (model.get("kwargs") or {}).items())
    name = str(model.get("factory") or "").rpartition(":")[2]
    called = f"{name} ({options})" if options else name
    checkpoint = str(model.get("checkpoint") or "").rpartition("/")[2]
    return ", ".join(filter(None, [called, checkpoint]))


def _directions(directions: Mapping[str, Any]) -> str:
    told = [str(directions.get("kind") or "")]
    if directions.get("normalization") not in (None, "none"):
        told.append(f"{directions['normalization']}-normalized")
    if directions.get("kind") == "random" and "seed" in directions:
        told.append(f"seed {directions['seed']}")
    return ", ".join(filter(None, told))


def _grid(snapshot: Snapshot) -> str:
    axes = [snapshot.alpha] if snapshot.beta is None else [snapshot.alpha, snapshot.beta]
    ranges = [f"[{axis[0]:.4g}, {axis[-1]:.4g}]" for axis in axes]
    return f"{snapshot.size} over {' x '.join(ranges)}"

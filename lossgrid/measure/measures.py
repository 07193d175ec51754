"""All measures of one surface, under their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.measure.basin import basin
from lossgrid.measure.mergetree import Minimum, merge_tree
from lossgrid.measure.shape import convexity, roughness
from lossgrid.measure.sharpness import sharpness
from lossgrid.view.snapshot import Snapshot

OFFSET = 0.01
"""Added to the value that a minimum's depth is relative to, so that it may be 0."""


@dataclass(frozen=True)
class Options:
    """What the measures depend on.

    Attributes:
        levels: of regions.
        epsilon: half the side of the box of the sharpness.
        noise: a minimum shallower than this, relative to its value + `OFFSET`, does not count.
    """

    levels: Sequence[float] = (0.1, 1.0)
    epsilon: float = 0.1
    noise: float = 0.05


def measures(snapshot: Snapshot, options: Options) -> Mapping[str, float | None]:
    """Numbers by name; None where the surface can't tell. See docs/measures.md.

    Raises:
        UserError: more is better in this column, or none of its values is finite.
    """
    if snapshot.is_fraction:
        raise UserError(f"{snapshot.column}: measures are of losses; choose another --column")
    snapshot.check_drawable()
    values = np.atleast_2d(snapshot.values)
    alpha, beta = snapshot.alpha, snapshot.rows
    lowest, rim = float(values.flat[snapshot.best]), _lowest_rim(values)
    best_alpha, best_beta = snapshot.best_place
    found: dict[str, float | None] = {
        "minimum": lowest,
        "minimum_alpha": best_alpha,
        **({} if snapshot.beta is None else {"minimum_beta": best_beta}),
        f"sharpness_{options.epsilon:g}": sharpness(alpha, beta, values, options.epsilon),
        "convexity": convexity(values),
        "roughness": roughness(values),
        "rim": None if rim is None else rim - lowest,
        **_of_tree(merge_tree(values), options.noise),
    }
    if snapshot.is_plane:
        for level in options.levels:
            region = basin(alpha, beta, values, level)
            for name in ("area", "width_alpha", "width_beta", "radius", "closed"):
                number = getattr(region, name, None)
                found[f"{name}_{level:g}"] = None if number is None else float(number)
    return found


def _of_tree(tree: Sequence[Minimum], noise: float) -> dict[str, float | None]:
    counted = [one for one in tree if one.persistence >= noise * (abs(one.value) + OFFSET)]
    first, *others = counted
    # Minima that join the lowest one; at their saddles its basin is left.
    ways = [one.value + one.persistence for one in others if one.into == first.point]
    return {
        "minima": float(len(counted)),
        "depth": min(ways) - first.value if ways else None,
        "persistence": sum(one.persistence for one in others if one.into is not None),
    }


def _lowest_rim(values: NDArray[np.float64]) -> float | None:
    """The lowest finite value on the grid's edge."""
    inside = np.zeros(values.shape, np.bool_)
    inside[tuple(slice(1, -1) if size > 1 else slice(None) for size in values.shape)] = True
    rim = values[~inside & np.isfinite(values)]
    return float(rim.min()) if rim.size else None

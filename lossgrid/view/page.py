"""A landscape as one interactive page, which needs nothing but a browser."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.store.trajectory import Trajectory
from lossgrid.view import Landscape
from lossgrid.view.facts import facts
from lossgrid.view.saving import whole
from lossgrid.view.scale import scale_for
from lossgrid.view.snapshot import Snapshot, choose_column, parts, words
from lossgrid.view.thinning import drawn_lattice

_SCRIPTS = (
    "values",
    "plots",
    "surface",
    "levels",
    "contours",
    "curves",
    "words",
    "actions",
    "page",
)
_MOST_DRAWN = 512
_STEPS = 16  # of a trajectory's line over the surface, from one checkpoint to the next


def write_page(results: Landscape, column: str | None, output: Path) -> str:
    """Write a page with all columns of a landscape: surface and contours, or curves of a line.

    The page shows `column` first: by default test_loss, else the first loss. Plotly, the script and
    the values are inside; it opens without a network.

    Returns: what was written and what is missing, for people.

    Raises:
        UserError: there is no such column, no column has a finite value, the suffix is another
            one than .html, or the file can't be written.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{output}: a page's name must end in .html, not in {output.suffix!r}")
    columns = list(results.values)
    snapshot = Snapshot.of(results, choose_column(results, column), columns)
    if not any(np.isfinite(values).any() for values in snapshot.curves.values()):
        snapshot.check_drawable()
    landscape = json.dumps(_landscape(results, snapshot), allow_nan=False).replace("<", "\\u003c")
    page = Template(_part("page.html")).substitute(
        title=html.escape(f"{snapshot.name}: loss landscape"),
        style=_part("page.css"),
        plotly=_part("plotly.min.js"),
        landscape=landscape,
        script="\n".join(_part(f"{name}.js") for name in _SCRIPTS),
    )
    with whole(output) as partial:
        partial.write_text(page, encoding="utf-8")
    told = f"{output}: {snapshot.size}, {len(page) / 1e6:.1f} MB; open it in a browser"
    return "\n".join(filter(None, [told, snapshot.gaps()]))


def _part(name: str) -> str:
    return files("lossgrid.view").joinpath("browser", name).read_text(encoding="utf-8")


def _landscape(results: Landscape, snapshot: Snapshot) -> dict[str, Any]:
    """All that the page's script gets; see `_array` for arrays."""
    status = np.atleast_2d(snapshot.status)
    rows, columns = drawn_lattice(status, _MOST_DRAWN)
    drawn = np.ix_(rows, columns)
    kept = {"alpha": columns, "beta": rows}
    trajectories = results.trajectories
    shares = _shares(trajectories)
    return {
        "name": snapshot.name,
        "facts": facts(results.attributes, snapshot),
        "notes": _drawn_note(status.shape, (rows.size, columns.size)),
        "axes": [
            {"name": name, "share": shares.get(name), "at": _array(axis[kept[name]])}
            for name, axis in snapshot.axes.items()
        ],
        "status": _array(status[drawn]),
        "columns": {
            name: {
                **_range(replace(snapshot, column=name)),
                "values": _array(np.atleast_2d(values)[drawn]),
            }
            for name, values in snapshot.curves.items()
        },
        "column": snapshot.column,
        "trajectories": [
            _trajectory(name, trajectory, snapshot) for name, trajectory in trajectories.items()
        ],
    }


def _array(values: NDArray[Any]) -> dict[str, Any]:
    """An array as base64, little-endian; single precision where that has the same 6 digits."""
    if values.dtype == np.float64:
        with np.errstate(over="ignore", under="ignore"):
            single = values.astype(np.float32)
        if np.allclose(single, values, rtol=1e-6, atol=0, equal_nan=True):
            values = single
    stored = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    kind = {"f4": "Float32Array", "f8": "Float64Array", "u1": "Uint8Array"}[stored.dtype.str[1:]]
    return {"kind": kind, "shape": values.shape, "data": b64encode(stored.tobytes()).decode()}


def _range(snapshot: Snapshot) -> dict[str, Any]:
    """What values a column has: its best one, the scales that show it, and which of them first."""
    values, fraction = snapshot.values, snapshot.is_fraction
    split, metric = parts(snapshot.column)
    about = {
        "words": words(snapshot.column),
        "split": split,
        "metric": metric,
        "fraction": fraction,
        "gaps": snapshot.gaps(),
    }
    if not np.isfinite(values).any():
        return {**about, "scales": {}, "logarithmic": False, "best": None}
    scales = {"linear": scale_for(values, fraction=fraction, logarithmic=False)}
    if (values[np.isfinite(values)] > 0).any():
        scales["logarithmic"] = scale_for(values, fraction=fraction, logarithmic=True)
    alpha, beta = snapshot.best_place
    return {
        **about,
        "scales": {
            kind: {
                "low": scale.low,
                "high": scale.high,
                "logarithmic": scale.logarithmic,
                "constant": scale.constant,
                "levels": [] if scale.constant else scale.line_levels(),
            }
            for kind, scale in scales.items()
        },
        "logarithmic": scale_for(values, fraction=fraction).logarithmic,
        "best": {
            "alpha": alpha,
            "beta": beta,
            "value": float(values.flat[snapshot.best]),
            "kind": "maximum" if fraction else "minimum",
        },
    }


def _trajectory(name: str, trajectory: Trajectory, snapshot: Snapshot) -> dict[str, Any]:
    """Where the checkpoints are, what is known of them, and the grid's values under the path."""
    known = {"epoch": trajectory.epoch, "learning_rate": trajectory.learning_rate}
    return {
        "name": name,
        "checkpoints": [Path(checkpoint).name for checkpoint in trajectory.checkpoints],
        **{key: _array(values) for key, values in known.items() if values is not None},
        "values": {column: _array(values) for column, values in trajectory.values.items()},
        **_laid(trajectory, snapshot),
        "draped": _laid(_refined(trajectory), snapshot),
    }


def _shares(trajectories: Mapping[str, Trajectory]) -> dict[str, float]:
    """What each axis explains of the trajectories' variance, where that is known."""
    for trajectory in trajectories.values():
        shares = trajectory.explained_variance
        if shares is not None and np.isfinite(shares).all():
            return dict(zip(("alpha", "beta"), shares.tolist(), strict=False))
    return {}


def _laid(trajectory: Trajectory, snapshot: Snapshot) -> dict[str, Any]:
    """Places of a path, and the grid's values there."""
    places = {"alpha": trajectory.alpha, "beta": trajectory.beta}
    return {
        **{label: _array(at) for label, at in places.items() if at is not None},
        "under": {
            column: _array(trajectory.under(snapshot.alpha, snapshot.beta, values))
            for column, values in snapshot.curves.items()
        },
    }


def _refined(trajectory: Trajectory) -> Trajectory:
    """The same path with places between the checkpoints."""
    numbers = np.arange(trajectory.alpha.size)
    finer = np.linspace(0, numbers[-1], _STEPS * numbers[-1] + 1)
    beta = None if trajectory.beta is None else np.interp(finer, numbers, trajectory.beta)
    return replace(trajectory, alpha=np.interp(finer, numbers, trajectory.alpha), beta=beta)


def _drawn_note(shape: tuple[int, ...], drawn: tuple[int, int]) -> str:
    """That not all points are drawn, if so."""
    (ny, nx), (rows, columns) = shape, drawn
    return f"drawn: {columns} x {rows} of {nx} x {ny} points" if drawn != (ny, nx) else ""

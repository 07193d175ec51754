"""`lossgrid convert`: the reference code's surface files as results files."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from lossgrid import __version__, reference
from lossgrid.engine.messages import DONE, PENDING
from lossgrid.errors import UserError
from lossgrid.store.create import Contents, create
from lossgrid.store.results import check_replaceable


def convert(path: Path, output: Path, overwrite: bool = False) -> str:
    """Write what a surface file of the reference code holds as a results file, for all commands.

    Returns: what was written and how its values were understood, for people.

    Raises:
        UserError: it is no such file, its coordinates are not equidistant, or the output can't be
            written, or is there already and is not to be overwritten.
    """
    surface = reference.read(path)
    for name, axis in (("xcoordinates", surface.alpha), ("ycoordinates", surface.beta)):
        _check_equidistant(path, name, axis)
    if output.suffix != ".vtkhdf":
        raise UserError(f"{output}: must end in .vtkhdf, by which ParaView knows what it is")
    if output.exists() and not overwrite:
        raise UserError(f"{output}: is there already; choose another --output, or --overwrite it")
    check_replaceable(output)
    about = {
        "converted": path.name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "fingerprint": json.dumps({"converted": path.name}),
        "id": uuid4().hex,
        "plan": json.dumps({"precision": "unknown"}),
        "versions": json.dumps({"lossgrid": __version__}),
    }
    contents = Contents(
        surface.alpha,
        surface.beta,
        tuple(surface.values),
        directions={},
        attributes=about,
        values=surface.values,
        status=np.where(surface.pending, PENDING, DONE).astype(np.uint8),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    create(output, contents)
    return _told(output, surface, int(surface.pending.sum()))


def _check_equidistant(path: Path, name: str, axis: NDArray[np.float64] | None) -> None:
    if axis is None:
        return
    even = np.linspace(axis[0], axis[-1], axis.size)
    if axis.size > 1 and not (axis[0] < axis[-1] and np.allclose(axis, even, atol=1e-9)):
        raise UserError(
            f"{path}: {name} do not go up in equal steps, as the points of a results file must"
        )


def _told(output: Path, surface: reference.Surface, unknown: int) -> str:
    shape = [surface.alpha.size] + ([] if surface.beta is None else [surface.beta.size])
    told = [f"{output}: {' x '.join(map(str, shape))} points of {', '.join(surface.values)}"]
    if len(set(shape)) == 2:
        told.append(
            "entries are taken along rows of one ycoordinate, as plot_surface.py counts them, "
            "though its array is of the transposed shape"
        )
    if any(name.endswith("accuracy") for name in surface.values):
        told.append("accuracies are fractions, no longer percent")
    if unknown:
        told.append(f"{unknown} points were not computed, and are pending")
    return "\n".join(told)

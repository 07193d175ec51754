"""Names and types of everything in a results file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from lossgrid.columns import layer_of

FORMAT = 1

LIBVER = ("earliest", "v108")
"""Oldest and newest structures of HDF5 to write. Newer ones mark a file as open while it is
written, and one that a killed run has left marked can't be opened again."""

VTK = "VTKHDF"
POINT_DATA = "VTKHDF/PointData"
SCIENCE = "lossgrid"
ALPHA = "lossgrid/alpha"
BETA = "lossgrid/beta"
STATUS = "lossgrid/status"
DIRECTIONS = "lossgrid/directions"
ERRORS = "lossgrid/errors"
PRECISION = "lossgrid/precision"
EPOCHS = "lossgrid/epochs"
EPOCH = "lossgrid/points/epoch"

NO_EPOCH = 255
"""Of a point that has not been computed."""

EPOCH_ROWS = 64
"""More often than this no batch can be halved."""

TRAJECTORIES = "lossgrid/trajectory"

TRAJECTORY_FACTS = ("alpha", "beta", "checkpoint", "epoch", "learning_rate", "stamp", "status")
"""Datasets of a trajectory that are no values of columns."""

LAYERS = "lossgrid/curvature/layers"

LAYER_NAMES = "lossgrid/curvature/layers/names"
"""Of the network's layers, in its order; all else beside it is a group a result."""

SPECTRA = "lossgrid/curvature/spectrum"
SPECTRA_STATUS = "lossgrid/curvature/spectrum/status"

RANK = "lossgrid/points/rank"
SECONDS = "lossgrid/points/seconds"
TRIES = "lossgrid/points/attempt"

POINT_RECORDS: dict[str, tuple[DTypeLike, Any]] = {
    RANK: (np.int32, -1),  # who computed the point
    SECONDS: (np.float32, np.nan),  # how long it took there
    TRIES: (np.uint8, 0),  # how often it was tried, over all runs
    EPOCH: (np.uint8, NO_EPOCH),  # which evaluation plan it was computed with
}
"""What is recorded of each point beside its values: dataset -> (type, value while pending)."""

ERROR_ROWS = 1000
ERROR_RECORD = np.dtype([("point", np.int64), ("message", "S240")])
"""`point` is the flat index, -1 in unused rows; `message` is UTF-8, cut to fit."""


def precision_record(columns: tuple[str, ...]) -> np.dtype[Any]:
    """A value that was computed again in float32; `point` is -1 until it is."""
    name = f"S{max(map(len, columns))}"
    return np.dtype(
        [("point", np.int64), ("column", name), ("float32", np.float64), ("stored", np.float64)]
    )


def epoch_record(columns: Sequence[str]) -> np.dtype[Any]:
    """What a plan epoch has of its own: of the plan, and values at theta by column.

    `batch_size` is 0 until there is such an epoch.
    """
    sizes = [("batch_size", np.int64), ("points_per_pass", np.int64), ("network", "S8")]
    return np.dtype([*sizes, ("theta", [(column, np.float64) for column in columns])])


def stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the datasets with an entry for each point of a grid.

    A plane of one row is stored as a line is: VTK looks for one axis where it sees one.
    """
    return shape[1:] if len(shape) == 2 and shape[0] == 1 else shape


def value_dataset(column: str) -> str:
    """Path of the values of a column such as `test_loss`; VTK is shown none of layers."""
    result, layer = layer_of(column)
    return f"{LAYERS}/{result}/{layer}" if layer else f"{POINT_DATA}/{result}"


def trajectory_dataset(name: str, what: str) -> str:
    """Path of a dataset of a trajectory: one of its facts, or its true values of a column."""
    return f"{TRAJECTORIES}/{name}/{what}"


def nodes_dataset(split: str) -> str:
    """Path of the nodes of spectra of a split's loss."""
    return f"{SPECTRA}/nodes/{split}"

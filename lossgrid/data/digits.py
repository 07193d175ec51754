"""The handwritten digits that come with scikit-learn (1,797 images, Alpaydin & Kaynak 1998)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from lossgrid.data.normalization import ImageNormalization
from lossgrid.data.split import Split
from lossgrid.errors import UserError

TEST_SAMPLES = 360


def digits(train: bool) -> Split:
    """Read the 1,437 training or the 360 test digits of a fixed random partition.

    Returns:
        uint8 images (n, 1, 8, 8) with values from 0 to 16, which `Split.prepare` scales to
        [0, 1], and int64 labels (n,) from 0 to 9.

    Raises:
        UserError: if scikit-learn is not installed.
    """
    table = np.loadtxt(_data_file(), delimiter=",", dtype=np.uint8)
    order = np.random.Generator(np.random.Philox(0)).permutation(len(table))
    rows = torch.from_numpy(table[order[TEST_SAMPLES:] if train else order[:TEST_SAMPLES]])
    return Split(
        rows[:, :64].reshape(-1, 1, 8, 8),
        rows[:, 64].long(),
        ImageNormalization(mean=(0.0,), std=(1.0,), scale=16.0),
    )


def _data_file() -> Path:
    # Importing scikit-learn takes over a second, on every rank; its table takes milliseconds.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError(
            "the digits come with scikit-learn, which is not installed: "
            "pip install scikit-learn, or name another data factory in the job file"
        )
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"

"""Spectra in a results file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lossgrid.engine.messages import DONE, FAILED, PENDING
from lossgrid.store.amend import reset_lost, write_spectra
from lossgrid.store.create import Contents, create
from lossgrid.store.results import read_results
from lossgrid.store.spectra import Spectra

ALPHA = np.linspace(-1, 1, 3)
NODES = np.array([[1.0, 2.0], [0.5, 0.5]])
PLACES = np.array([0.0, 0.5])


def test_a_status_says_what_is_known(tmp_path: Path) -> None:
    """Also after a power loss, which may have left a status without its nodes."""
    path = tmp_path / "r.vtkhdf"
    nodes, status = np.full((2, 2, 2, 2), np.nan), np.zeros((2, 2), np.uint8)
    made = Spectra(PLACES, None, {"train": nodes}, status, 10)
    texts = {"fingerprint": "{}", "plan": "{}"}
    create(path, Contents(ALPHA, None, ("train_loss",), {}, {}, texts, spectra=made))
    odd = np.full_like(NODES, np.nan)
    found = {(0, 0): {"train": NODES}, (0, 1): None, (1, 1): {"train": odd}}
    write_spectra(read_results(path), found)
    stored = read_results(path).spectra
    assert stored is not None
    assert stored.status.tolist() == [[DONE, FAILED], [PENDING, DONE]]
    assert stored.unfinished == [(0, 1), (1, 0)]
    assert stored.lacking() == {"missing": 2, "not finite": 1}
    assert stored.lacking(slice(0, 1)) == {"missing": 1}
    np.testing.assert_array_equal(stored.nodes["train"][0, 0], NODES)
    reset_lost(read_results(path))
    after = read_results(path).spectra
    assert after is not None
    assert after.status.tolist() == [[DONE, FAILED], [PENDING, PENDING]]

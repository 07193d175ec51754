from __future__ import annotations

import numpy as np

from lossgrid.view.facts import facts
from lossgrid.view.snapshot import Snapshot
from tests.view.landscapes import ALPHA, Made, plane

JOB = """
model: {factory: "lossgrid.models:resnet20", kwargs: {shortcut: A}, checkpoint: runs/best.th}
data: {train: {samples: 5000}, test: {}}
directions: {kind: random, seed: 3, normalization: filter}
"""


def told(landscape: Made, **attributes: str) -> dict[str, str]:
    return dict(facts(attributes, Snapshot.of(landscape, "test_loss", ["test_loss"])))


def test_a_job_is_told_in_words() -> None:
    assert told(plane(), job=JOB, created="2026-11-21T14:43:44+00:00") == {
        "Network": "resnet20 (shortcut=A), best.th",
        "Data": "train, test",
        "Directions": "random, filter-normalized, seed 3",
        "Grid": "25 x 17 points over [-1, 2] x [0, 2]",
        "Begun": "2026-11-21",
    }


def test_what_is_not_told_is_left_out() -> None:
    line = Made({"test_loss": ALPHA}, beta=None, status=np.ones(25, np.uint8))
    assert told(line) == {"Grid": "25 points over [-1, 2]"}
    assert told(line, job="directions: {kind: between, normalization: none}") == {
        "Directions": "between",
        "Grid": "25 points over [-1, 2]",
    }

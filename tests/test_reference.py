"""The whole way from job file to results, against a naive loop that shares no code with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from lossgrid.run.steps import run
from lossgrid.store.results import read_results
from tests import reference
from tests.shared import shared_file

SAMPLES = 40


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_resnet20_on_real_images(precision: str, tolerance: float, tmp_path: Path) -> None:
    images, checkpoint = shared_file("cifar10_slice.npz"), shared_file("resnet20-12fca82f.th")
    kwargs = {
        "path": str(images),
        "images": "test_images",
        "labels": "test_labels",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    job = {
        "output": "out.vtkhdf",
        "model": {"factory": "lossgrid.models:resnet20", "checkpoint": str(checkpoint)},
        "data": {"test": {"factory": "lossgrid.data:npz", "kwargs": kwargs, "samples": SAMPLES}},
        "directions": {"seed": 7},
        "grid": {
            "alpha": {"min": -0.5, "max": 1, "points": 3},
            "beta": {"min": -1, "max": 0.25, "points": 2},
        },
        "evaluation": {"precision": precision, "batch_size": 16},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    assert run(path) == 0
    data = np.load(images)
    philox = np.random.Generator(np.random.Philox(0))
    chosen = philox.permutation(len(data["test_labels"]))[:SAMPLES]
    truth = reference.surface(
        reference.read_weights(checkpoint),
        data["test_images"][chosen],
        data["test_labels"][chosen],
        np.linspace(-0.5, 1, 3),
        np.linspace(-1, 0.25, 2),
        seed=7,
    )
    found = read_results(tmp_path / "out.vtkhdf").values["test_loss"]
    np.testing.assert_allclose(found, truth, rtol=tolerance)

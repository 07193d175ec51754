from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lossgrid.job import read_job
from lossgrid.space import Grid, build_plane, negative_variances
from tests.toy import toy_job


def network(*variances: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, eps=0.01))
    model[1].running_var = torch.tensor(variances)
    return model.eval()


def told(
    folder: Path,
    alpha: list[float],
    beta: list[float] | None = None,
    theta: nn.Module | None = None,
    **spec: Any,
) -> Any:
    """Of a line from variances (1, 1) to (3, 0.5), or a plane that leads to (0.5, 0.5) as well."""
    torch.save(network(3.0, 0.5).state_dict(), folder / "b.pt")
    torch.save(network(0.5, 0.5).state_dict(), folder / "c.pt")
    files = ["b.pt"] if beta is None else ["b.pt", "c.pt"]
    axis = {"min": -1, "max": 1, "points": 3}
    grid = {"alpha": axis} if beta is None else {"alpha": axis, "beta": axis}
    directions = {"kind": "between", "checkpoints": files, "include": "state", **spec}
    job = read_job(toy_job(folder, grid=grid, directions=directions))
    theta = theta or network(1.0, 1.0)
    ends = Grid(np.array(alpha), None if beta is None else np.array(beta))
    return negative_variances(build_plane(job, theta), ends, theta)


@pytest.mark.parametrize(
    ("alpha", "where"),
    [
        ([-0.5, 1.5], None),
        ([-0.6, 1.5], "negative at alpha < -0.505: losses"),  # 1.01 - 2 alpha
        ([-0.5, 2.1], "negative at alpha > 2.02: losses"),  # 1.01 - alpha / 2
        ([-0.6, 2.1], "negative at alpha < -0.505 and at alpha > 2.02: losses"),
    ],
)
def test_a_line_tells_where_variances_begin_to_be_negative(
    alpha: list[float], where: str | None, tmp_path: Path
) -> None:
    found = told(tmp_path, alpha)
    assert where in found if where else found is None


def test_a_plane_names_the_corners(tmp_path: Path) -> None:
    assert told(tmp_path, [0.0, 1.0], [0.0, 1.0]) is None
    assert "around (1, 1.5): losses" in told(tmp_path, [0.0, 1.0], [0.0, 1.5])
    assert "around (0, 9) and around (9, 0) and around (9, 9): losses" in told(
        tmp_path, [0.0, 9.0], [0.0, 9.0]
    )
    assert told(tmp_path, [-9.0, 9.0], include="parameters") is None


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_several_lines_tell_where_the_first_of_them_has_a_negative_one(
    draws: int, tmp_path: Path
) -> None:
    directions = {"draws": draws, "include": "state", "ignore": []}
    line = {"alpha": {"min": -9, "max": 9, "points": 3}}
    job = read_job(toy_job(tmp_path, grid=line, directions=directions))
    theta = network(1.0, 1.0)
    plane = build_plane(job, theta)
    slopes = [float(slope) for d in plane.directions.values() for slope in d["1.running_var"]]
    words = [f"alpha {'<>'[slope < 0]} {-1.01 / slope:.4g}" for slope in slopes]
    ends = [-1.01 / slope for slope in slopes]
    found = negative_variances(plane, Grid.of(job), theta)
    assert found is not None
    for word, end in zip(words, ends, strict=True):
        first = end == max((e for e in ends if e < 0), default=None)
        first |= end == min((e for e in ends if e > 0), default=None)
        assert (f"at {word}" in found) == (first and abs(end) < 9)


@pytest.mark.parametrize("beta", [None, [0.0, 1.0]])
def test_theta_itself_may_have_negative_ones(beta: list[float] | None, tmp_path: Path) -> None:
    """As a line that begins there has, and none of them may get smaller."""
    found = told(tmp_path, [0.0, 1.0], beta, theta=network(-1.0, 1.0))
    assert "negative at theta itself: losses there are NaN" in found

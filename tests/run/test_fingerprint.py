from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lossgrid.engine import world as worlds
from lossgrid.job import read_job
from lossgrid.run.fingerprint import differences, theta_values
from lossgrid.run.prepare import prepare
from tests.toy import toy_job


def made_of(folder: Path, **changes: Any) -> dict[str, str]:
    return prepare(read_job(toy_job(folder, **changes)), worlds.alone()).fingerprint


def test_the_same_job_elsewhere_is_the_same(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = made_of(tmp_path / "here")
    assert made_of(tmp_path / "there", output="other/name.vtkhdf", name="other") == here


AXIS = {"min": -1, "max": 1, "points": 7}


SIZES = {"plan batch_size", "plan points_per_pass"}
"""Chosen by the sizes of data and network."""


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"directions": {"seed": 1}}, {"directions"}),
        ({"directions": {"normalization": "layer"}}, {"directions"}),
        ({"directions": {"parameters": "0.*"}}, {"directions"}),
        ({"grid": {"alpha": AXIS, "beta": {**AXIS, "points": 6}}}, {"beta"}),
        ({"grid": {"alpha": {**AXIS, "max": 2}, "beta": {**AXIS, "points": 5}}}, {"alpha"}),
        ({"data": {"train": {"factory": "toy.py:data", "samples": 30}}}, {"data train", *SIZES}),
        ({"metrics": ["loss"]}, {"metrics"}),
        ({"loss": "toy.py:touchy", "metrics": ["loss", "accuracy"]}, {"loss"}),
        ({"evaluation": {"precision": "float64"}}, {"plan precision"}),
        ({"evaluation": {"batch_size": 9}}, {"plan batch_size"}),
    ],
)
def test_a_change_is_named(changes: dict[str, Any], parts: set[str], tmp_path: Path) -> None:
    found = differences(made_of(tmp_path), made_of(tmp_path, **changes))
    assert {part for part, _ in found} - SIZES == parts - SIZES
    assert ("plan batch_size" in dict(found)) == ("plan batch_size" in parts)


def test_one_weight_makes_another_network(tmp_path: Path) -> None:
    before = made_of(tmp_path)
    code = (tmp_path / "toy.py").read_text()

    def changed(edit: Callable[[str], str]) -> set[str]:
        job = read_job(toy_job(tmp_path))
        (tmp_path / "toy.py").write_text(edit(code))
        other = job.model.model_copy(update={"factory": "toy2.py:model"})
        (tmp_path / "toy2.py").write_text(edit(code))
        found = prepare(job.model_copy(update={"model": other}), worlds.alone()).fingerprint
        return {part for part, _ in differences(before, found)} - SIZES

    assert changed(lambda text: text.replace("hidden=8", "hidden=9")) == {"weights", "directions"}


def test_values_at_theta_tell_the_last_bit() -> None:
    one = theta_values({"loss": 0.1})
    assert differences(one, theta_values({"loss": 0.1 + 2**-55}))
    assert not differences(one, theta_values({"loss": 0.1}))
    nan = {"loss": float("nan")}
    assert not differences(theta_values(nan), theta_values(nan))


def test_a_stored_plan_is_taken_where_the_job_leaves_it_open(tmp_path: Path) -> None:
    job = read_job(toy_job(tmp_path))
    plan = prepare(job, worlds.alone()).plan
    again = prepare(job, worlds.alone(), replace(plan, batch_size=11)).plan
    assert again.batch_size == 11
    pinned = read_job(toy_job(tmp_path, evaluation={"points_per_pass": 2, "network": "fused"}))
    again = prepare(pinned, worlds.alone(), replace(plan, batch_size=11, network="plain")).plan
    assert (again.batch_size, again.points_per_pass, again.network) == (11, 2, "fused")
    assert torch.__version__ in again.torch_version

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lossgrid.engine.deaths import Deaths
from lossgrid.engine.world import World
from lossgrid.errors import UserError
from lossgrid.job import read_job
from lossgrid.run import writing
from lossgrid.run.writing import in_parallel
from tests.runs import plane
from tests.toy import toy_job

WORLD = World(cast(Any, "a communicator"), 0, 3, "here", 0, 3, 1, Deaths(None))
ABLE = [True] * 3


@pytest.mark.parametrize(("kind", "parallel"), [("nfs4", False), ("cifs", False), ("lustre", True)])
def test_where_ranks_can_not_write_together_rank_0_does(
    kind: str, parallel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(writing, "filesystem", lambda path: kind)
    assert in_parallel(read_job(toy_job(tmp_path)), WORLD, ABLE, said.append) == parallel
    assert [f"is on {kind}" in sentence for sentence in said] == [True] * (not parallel)
    insisting = read_job(toy_job(tmp_path, runtime={"writer": "parallel"}))
    assert in_parallel(insisting, WORLD, ABLE, said.append)


def test_nothing_is_said_where_rank_0_writes_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(writing, "filesystem", lambda path: "nfs")
    job = read_job(toy_job(tmp_path))
    asked = read_job(toy_job(tmp_path, runtime={"writer": "coordinator"}))
    for one, world, able in [
        (job, WORLD, [True, False, True]),
        (job, replace(WORLD, size=1), [True]),
        (asked, WORLD, ABLE),
    ]:
        assert not in_parallel(one, world, able, said.append)
    assert not said


def test_a_job_that_insists_on_what_can_not_be(tmp_path: Path) -> None:
    job = read_job(toy_job(tmp_path, runtime={"writer": "parallel"}))
    with pytest.raises(UserError, match="needs an h5py built with MPI on every rank"):
        in_parallel(job, WORLD, [True, False, True])
    with pytest.raises(UserError, match="needs an h5py built with MPI"):
        in_parallel(job, replace(WORLD, comm=None), ABLE)
    refining = {**plane(9, 9), "refine": 0.1}
    job = read_job(toy_job(tmp_path, runtime={"writer": "parallel"}, grid=refining))
    with pytest.raises(UserError, match=r"does not go with grid\.refine"):
        in_parallel(job, WORLD, ABLE)

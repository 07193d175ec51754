from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.errors import OutOfMemoryError, UserError
from lossgrid.evaluate.evaluator import GridEvaluator
from lossgrid.evaluate.memory import (
    ENOUGH,
    available,
    fitted,
    needed,
    smaller,
)
from lossgrid.evaluate.plan import Plan
from lossgrid.evaluate.widths import widths
from tests.evaluate.test_evaluator import CPU, GRID, PLAN, plane_of, problem, trained

FUSED = replace(PLAN, network="fused", batch_size=64)


def by_batch(plan: Plan) -> int:
    return 100 * plan.batch_size * plan.points_per_pass


@given(room=st.integers(100, 10_000))
def test_the_largest_half_that_fits_is_taken(room: int) -> None:
    found = fitted(FUSED, by_batch, room, fixed=False)
    assert by_batch(found) <= room
    assert (
        found.batch_size == 64 or by_batch(replace(found, batch_size=2 * found.batch_size)) > room
    )
    assert replace(found, batch_size=64) == FUSED


def test_several_points_a_pass_are_given_up_first() -> None:
    several = replace(FUSED, points_per_pass=32)
    assert fitted(several, by_batch, 6400, fixed=False) == FUSED


def test_what_fits_stays() -> None:
    assert fitted(FUSED, by_batch, 6400, fixed=True) is FUSED


@pytest.mark.parametrize(("room", "fixed"), [(99, False), (6399, True)])
def test_what_does_not_fit_is_refused_with_both_figures(room: int, fixed: bool) -> None:
    def millions(plan: Plan) -> int:
        return by_batch(plan) * 1_000_000

    with pytest.raises(UserError, match=f"needs {6400 if fixed else 100} MB .* {room} MB are free"):
        fitted(FUSED, millions, room * 1_000_000, fixed)


def test_batches_points_and_lanes_need_memory() -> None:
    posed, plane = problem(), plane_of(trained())
    width = widths(posed)

    def need(plan: Plan, lanes: int = 1) -> int:
        return needed(plan, posed, plane, width, lanes, 10**12)

    small = replace(FUSED, batch_size=4)
    assert need(replace(FUSED, batch_size=8)) > need(small)
    assert need(replace(small, points_per_pass=2)) > need(small)
    assert need(small, lanes=2) > need(small)
    assert need(replace(FUSED, batch_size=21)) == need(replace(FUSED, batch_size=10**9))


def test_data_take_no_more_of_a_gpu_than_they_are_allowed() -> None:
    posed, plane = problem(), plane_of(trained())
    width = widths(posed)
    data = sum(split.inputs.nbytes + split.targets.nbytes for split in posed.splits.values())
    for room, taken in [(2 * data, data), (data, data // 2), (10 * data, data)]:
        host = needed(FUSED, posed, plane, width, 1, room)
        there = needed(replace(FUSED, device="cuda"), posed, plane, width, 1, room)
        assert there - host == taken + plane.corners.nbytes


def machine(folder: Path, free_kb: int, limit: str = "max", used: int = 0, cache: int = 0) -> Path:
    group = folder / "sys/fs/cgroup/job/step"
    group.mkdir(parents=True)
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {free_kb} kB\n")
    (folder / "proc/self/cgroup").write_text("0::/job/step\n")
    (group.parent / "memory.max").write_text(f"{limit}\n")
    (group.parent / "memory.current").write_text(f"{used}\n")
    (group.parent / "memory.stat").write_text(f"anon 3\ninactive_file {cache}\n")
    return folder


def test_ranks_of_a_host_share_what_is_free(tmp_path: Path) -> None:
    assert available(CPU, 4, machine(tmp_path, 4000)) == 1000 * 1024


def test_a_limit_of_a_group_above_counts_and_its_cache_does_not(tmp_path: Path) -> None:
    assert available(CPU, 1, machine(tmp_path, 4000, "5000", used=4000, cache=200)) == 1200


def test_a_machine_that_tells_nothing_is_not_limited(tmp_path: Path) -> None:
    assert available(CPU, 1, tmp_path) == ENOUGH


def test_this_machine_has_some() -> None:
    assert available(torch.device("cpu"), 1) > 0


def test_a_smaller_plan_takes_fewer_points_then_fewer_samples() -> None:
    found: list[Plan] = []
    plan: Plan | None = replace(FUSED, batch_size=5, points_per_pass=32)
    while plan is not None:
        found.append(plan)
        plan = smaller(plan)
    sizes = [(plan.batch_size, plan.points_per_pass) for plan in found]
    assert sizes == [(5, 32), (5, 1), (2, 1), (1, 1)]
    assert {replace(plan, batch_size=0, points_per_pass=0) for plan in found} == {
        replace(FUSED, batch_size=0, points_per_pass=0)
    }


def test_an_evaluator_names_it_in_every_method() -> None:
    def greedy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(outputs) > 2:
            torch.empty(1 << 58)
        return outputs[:, 0]

    posed = replace(problem(), metrics={"loss": greedy})
    plan = replace(PLAN, network="plain", batch_size=7)
    made = GridEvaluator(posed, plane_of(trained()), GRID, plan, CPU)
    for method in (
        lambda: made(np.array([0])),
        lambda: made.at([(0.0, 0.0)]),
        lambda: made.samples(0, 0, 7),
        lambda: made.first_batch([(0.0, 0.0)]),
    ):
        with pytest.raises(OutOfMemoryError):
            method()

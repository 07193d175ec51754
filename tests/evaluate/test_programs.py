"""A graph that has been sent does what the recorded one does."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossgrid.evaluate import GridEvaluator
from lossgrid.evaluate.programs import Program
from lossgrid.evaluate.recording import UntraceableError, record
from lossgrid.problem import Problem
from tests.evaluate.test_evaluator import CPU, FORMS, GRID, PLAN, plane_of, problem, trained

FACTORS = torch.tensor([1.0, 2.0, 3.0])


def many(a: Tensor, b: Tensor) -> list[Tensor]:
    """Lists, results that are several, slices, keywords, types, and a constant."""
    both = torch.cat([a, b]) * FACTORS + torch.arange(3, device=a.device)
    first, second = torch.chunk(both, 2)
    return [first.relu(), second.to(torch.float64), both[:, 1:2], both.sum(dim=1, keepdim=True)]


def test_a_program_does_what_its_graph_does() -> None:
    graph = record(many, torch.ones(1, 3), torch.ones(1, 3))
    sent = pickle.loads(pickle.dumps(Program.of(graph))).on(CPU)
    given = torch.randn(2, 1, 3).unbind()
    assert [str(n) for n in sent.graph.nodes] == [str(n) for n in graph.graph.nodes]
    for found, wanted in zip(sent(*given), many(*given), strict=True):
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted)


def test_what_belongs_on_the_device_goes_to_the_rank_s_own() -> None:
    """Rank 0's GPU has another number than that of other ranks."""
    program = Program.of(record(many, torch.ones(1, 3), torch.ones(1, 3)))
    theirs = {"device": torch.device("cuda", 3)}
    steps = [
        replace(step, kwargs={**step.kwargs, **theirs}) if "device" in step.kwargs else step
        for step in program.steps
    ]
    assert steps != list(program.steps)
    moved = replace(program, steps=tuple(steps), placed=frozenset(program.constants))
    on_meta = moved.on(torch.device("meta"))
    assert {held.device.type for held in on_meta.buffers()} == {"meta"}
    devices = [n.kwargs["device"].type for n in on_meta.graph.nodes if "device" in n.kwargs]
    assert devices == ["meta"]
    assert {held.device.type for held in program.on(torch.device("meta")).buffers()} == {"cpu"}


def test_what_is_no_tensor_is_refused() -> None:
    graph = torch.fx.Graph()
    graph.output(graph.get_attr("odd"))
    with pytest.raises(UntraceableError, match="dict odd"):
        Program.of(torch.fx.GraphModule({"odd": {}}, graph))


@pytest.mark.parametrize(("network", "points"), FORMS)
def test_an_evaluator_that_is_given_what_another_recorded_has_its_bits(
    network: str, points: int
) -> None:
    plan = replace(PLAN, network=network, points_per_pass=points)  # type: ignore[arg-type]

    def evaluator(recorded: bytes | None = None) -> GridEvaluator:
        return GridEvaluator(problem(), plane_of(trained()), GRID, plan, CPU, 2, recorded)

    first = evaluator()
    second = evaluator(first.recorded())
    assert second(np.arange(20)).tobytes() == first(np.arange(20)).tobytes()
    assert second.recorded() == first.recorded()


RECEIVER = """
import pickle, sys
import numpy as np
from lossgrid.evaluate import GridEvaluator
with open(sys.argv[1], "rb") as file:
    parts = pickle.load(file)
    values = GridEvaluator(*parts, 2, file.read())(np.arange(20))
heavy = {"sympy", "torch._dynamo", "torch._inductor"} & set(sys.modules)
assert not heavy, heavy
sys.stdout.write(values.tobytes().hex())
"""


def build() -> nn.Module:
    return trained()


@pytest.mark.parametrize(("network", "points"), FORMS)
def test_another_process_does_the_same_without_a_compiler(
    network: str, points: int, tmp_path: Path
) -> None:
    plan = replace(PLAN, network=network, points_per_pass=points)  # type: ignore[arg-type]
    posed: Problem = problem(build)
    parts = (posed, plane_of(trained()), GRID, plan, CPU)
    first = GridEvaluator(*parts)
    sent = tmp_path / "sent"
    sent.write_bytes(pickle.dumps(parts) + first.recorded())
    command = [sys.executable, "-c", RECEIVER, str(sent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert bytes.fromhex(done.stdout) == first(np.arange(20)).tobytes()

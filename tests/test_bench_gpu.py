"""What can be known of the GPU benchmark without a GPU: its counts, its values, its output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu, speed
from lossgrid.data import Split
from lossgrid.models import resnet20, resnet56

CPU = torch.device("cpu")
IMAGE, VECTOR = torch.zeros(1, 3, 32, 32), torch.zeros(1, 64)
RATES = {"float32": 1e9, "bfloat16": 2e9, "bandwidth": 1e12}


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (resnet56, IMAGE),
        (partial(resnet56, width=4), IMAGE),
        (partial(resnet20, shortcut="B"), IMAGE),
        (gpu.perceptron, VECTOR),
    ],
)
def test_operations_are_those_that_torch_counts(
    build: Callable[[], nn.Module], inputs: Tensor
) -> None:
    model = build().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs)
    assert gpu.work(model, inputs).operations == counter.get_total_flops()


def test_operations_are_those_of_the_other_benchmark() -> None:
    assert gpu.work(resnet56(), IMAGE).operations == speed.OPERATIONS["W1"]
    assert gpu.work(gpu.perceptron(), VECTOR).operations == speed.OPERATIONS["W3"]


def test_numbers_that_layers_read_and_write() -> None:
    assert gpu.work(gpu.perceptron(), VECTOR).numbers == 64 + 128 + 128 + 10


def test_images_are_repeated() -> None:
    split = gpu.images(5003)
    assert split.inputs.shape == (5003, 3, 32, 32)
    assert split.inputs[5000:].equal(split.inputs[:3])


@pytest.fixture(scope="module")
def rows() -> list[gpu.Row]:
    split = gpu.images(16)
    problem = gpu.posed(resnet20, split, CPU)
    return [gpu.measured("small", p, problem, RATES, CPU) for p in ("float32", "bfloat16")]


def test_rows_are_consistent(rows: list[gpu.Row]) -> None:
    for row, size in zip(rows, (4, 2), strict=True):
        each = gpu.work(resnet20(), IMAGE)
        assert (row.operations, row.bytes) == (16 * each.operations, 16 * each.numbers * size)
        assert row.binds == "products"
        assert row.share == pytest.approx(row.operations / RATES[row.precision] / row.median)
        assert 0 < row.least <= row.median <= row.most
    assert rows[0].error < 1e-4 < rows[1].error < 0.2


def test_a_small_network_takes_several_points() -> None:
    inputs, targets = gpu.vectors().inputs[:100], gpu.vectors().targets[:100]
    problem = gpu.posed(gpu.perceptron, Split(inputs, targets), CPU)
    row = gpu.measured("perceptron", "float32", problem, RATES, CPU)
    assert "32 points a pass" in row.plan
    assert row.error < 1e-4


def test_the_table_and_the_file(rows: list[gpu.Row], tmp_path: Path) -> None:
    lines = gpu.table(rows).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| small | float32 | ")
    path = tmp_path / "made" / "gpu.json"
    gpu.write(path, "some GPU", RATES, rows)
    found = json.loads(path.read_text())
    assert found["gpu"] == "some GPU"
    assert found["rates"] == RATES
    assert [row["workload"] for row in found["rows"]] == ["small"] * 2
    assert found["rows"][0].keys() == asdict(rows[0]).keys()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_ends_in_one_sentence() -> None:
    script = Path(gpu.__file__)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.count("\n") == 1
    assert "no GPU here" in done.stdout
    assert not done.stderr

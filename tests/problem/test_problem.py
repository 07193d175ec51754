from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lossgrid.errors import UserError
from lossgrid.job import Job
from lossgrid.problem import load_problem
from lossgrid.problem.losses import accuracy, cross_entropy
from tests.job.jobs import minimal, read

SOURCE = """
import torch
from torch import nn

def net(features=2, classes=3, dtype=torch.float32):
    return nn.Sequential(nn.Linear(features, classes), nn.BatchNorm1d(classes)).to(dtype)

ONLY = net()
def one(): return ONLY
def odd(): return net(dtype=torch.float64)
def diverged():
    model = net()
    nn.init.constant_(model[0].weight, float("nan"))
    return model
def not_a_model(): return 1

class Uncopyable(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.lock = __import__("threading").Lock()
    def forward(self, x): return self.layer(x)

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        return self.layer(x)

class Binary(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
    def forward(self, x):
        self.layer.weight.data = self.layer.weight.data.sign()
        return self.layer(x)

class Pair(nn.Module):
    def forward(self, inputs): return inputs["a"] + inputs["b"].float()

X = torch.linspace(0, 1, 14).reshape(7, 2)
def data(high=2): return X, torch.arange(7) * high // 6
def values(): return X, torch.zeros(7, 3)
def column(): return X, torch.zeros(7)
def tree(): return {"a": torch.ones(7, 3), "b": torch.ones(7, 3, dtype=torch.int64)}, data()[1]
def soft(): return X, torch.full((7, 3), 1 / 3)
def one_sample(): return X[:1], torch.tensor([2])

def squared(o, t): return ((o.argmax(1) - t) ** 2).float()
def averaged(o, t): return torch.nn.functional.cross_entropy(o, t)
def number(o, t): return 1.0
def failing(o, t): raise KeyError("nothing here")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my.py").write_text(SOURCE)
    return tmp_path


def job(folder: Path, model: str = "net", data: str = "data", **keys: Any) -> Job:
    settings = minimal(
        model={"factory": f"my.py:{model}", **keys.pop("model_keys", {})},
        data={"test": {"factory": f"my.py:{data}", **keys.pop("data_keys", {})}},
        **keys,
    )
    return read(folder, settings)


def test_a_problem(folder: Path) -> None:
    problem = load_problem(job(folder, data_keys={"samples": 5}))
    assert list(problem.splits) == ["test"]
    assert len(problem.splits["test"]) == 5
    assert problem.loss is problem.metrics["loss"] is cross_entropy
    assert list(problem.metrics.items()) == [("loss", cross_entropy), ("accuracy", accuracy)]


def test_splits_and_metrics_keep_the_jobs_order(folder: Path) -> None:
    settings = minimal(
        model={"factory": "my.py:net"},
        data={name: {"factory": "my.py:data"} for name in ("z", "a", "m")},
        metrics=["my.py:squared", "loss", "accuracy"],
    )
    problem = load_problem(read(folder, settings))
    assert list(problem.splits) == ["z", "a", "m"]
    assert list(problem.metrics) == ["squared", "loss", "accuracy"]


@pytest.mark.parametrize("model", ["net", "one"])
def test_models_are_equal_independent_and_in_eval_mode(folder: Path, model: str) -> None:
    problem = load_problem(job(folder, model))
    first, second = problem.build_model(), problem.build_model()
    assert not first.training
    expected = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    with torch.no_grad():
        for tensor in first.state_dict().values():
            tensor.add_(1)
    for built in (second, problem.build_model()):
        for name, tensor in built.state_dict().items():
            assert torch.equal(tensor, expected[name]), name


def test_a_model_without_checkpoint_is_the_same_every_time(folder: Path) -> None:
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        weights.append(load_problem(job(folder)).build_model().state_dict()["0.weight"])
    assert torch.equal(*weights)


def test_the_checkpoint_is_loaded(folder: Path) -> None:
    state = {"0.weight": torch.randn(3, 2), "0.bias": torch.randn(3)}
    state |= {f"1.{name}": torch.rand(3) for name in ("weight", "bias", "running_mean")}
    state["1.running_var"] = torch.ones(3)
    torch.save({"state_dict": state}, folder / "a.pt")
    problem = load_problem(job(folder, model_keys={"checkpoint": "a.pt"}))
    built = problem.build_model().state_dict()
    for name, tensor in state.items():
        assert torch.equal(built[name], tensor), name


def test_the_trial_leaves_the_model_alone(folder: Path) -> None:
    assert load_problem(job(folder, "Counting")).build_model().calls == 0


@pytest.mark.parametrize(
    ("model", "data"),
    [("odd", "data"), ("Pair", "tree"), ("net", "one_sample"), ("net", "soft")],
    ids=["float64 weights", "pytree inputs", "one sample", "class probabilities"],
)
def test_accepts(folder: Path, model: str, data: str) -> None:
    load_problem(job(folder, model, data, metrics=["loss"]))


def test_regression(folder: Path) -> None:
    assert list(load_problem(job(folder, data="values", loss="mse")).metrics) == ["loss"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"model": "diverged"}, r"model of 'my\.py:diverged' .*not finite \(0\.weight\)"),
        ({"model": "not_a_model"}, "returned int: it must return a torch.nn.Module"),
        ({"model": "Uncopyable"}, r"model: it can't be copied \(TypeError: cannot pickle"),
        ({"model": "Binary"}, r"model: it replaces its weight layer\.weight as it runs"),
        ({"model_keys": {"checkpoint": "none.pt"}}, r"none\.pt does not exist"),
        ({"model_keys": {"kwargs": {"depth": 3}}}, "TypeError: .*unexpected keyword .*'depth'"),
        (
            {"model_keys": {"kwargs": {"features": 5}}},
            r"data\.test: the model, given inputs \(2, 2\), raised RuntimeError",
        ),
        ({"data_keys": {"kwargs": {"high": 3}}}, "labels: they go from 0 to 3, .* has 3 classes"),
        ({"data_keys": {"kwargs": {"high": -1}}}, "labels: they go from -1 to 0"),
        ({"data": "column", "loss": "mse"}, r"one shape, not \(2, 3\) and \(2,\)"),
        ({"loss": "my.py:averaged"}, r"loss returned \(\) for 2 samples"),
        ({"metrics": ["my.py:number"]}, "number returned float for 2 samples"),
        ({"metrics": ["loss", "my.py:failing"]}, r"failing, given outputs \(2, 3\), raised Key"),
        ({"metrics": ["my.py:none"]}, "has no 'none'"),
    ],
)
def test_refuses(folder: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        load_problem(job(folder, **keys))
    assert "\n" not in str(raised.value)

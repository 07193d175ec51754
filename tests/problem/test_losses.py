from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lossgrid.errors import UserError
from lossgrid.problem.losses import (
    accuracy,
    cross_entropy,
    load_loss,
    load_metrics,
    mse,
    next_token,
)


def naive_cross_entropy(logits: list[float], target: int) -> float:
    return math.log(sum(math.exp(logit - logits[target]) for logit in logits))


def outputs_of(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@given(seed=st.integers(0, 1000), samples=st.integers(1, 5), classes=st.integers(1, 7))
def test_cross_entropy_and_accuracy(seed: int, samples: int, classes: int) -> None:
    outputs = outputs_of(seed, samples, classes)
    targets = torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(seed))
    rows = list(zip(outputs.tolist(), targets.tolist(), strict=True))
    losses, hits = cross_entropy(outputs, targets), accuracy(outputs, targets)
    assert losses.tolist() == pytest.approx([naive_cross_entropy(*row) for row in rows])
    assert hits.tolist() == [float(max(logits) == logits[target]) for logits, target in rows]
    assert losses.dtype == hits.dtype == outputs.dtype


def test_next_tokens() -> None:
    """Of each text those that follow another one and are not padding."""
    outputs, ignored = outputs_of(3, 3, 4, 5), -100
    targets = torch.tensor([[1, 2, 3, 4], [0, 4, ignored, ignored], [2] + [ignored] * 3])
    expected = [
        [naive_cross_entropy(outputs[0, t].tolist(), int(targets[0, t + 1])) for t in range(3)],
        [naive_cross_entropy(outputs[1, 0].tolist(), 4)],
        [0.0],
    ]
    found = next_token(SimpleNamespace(logits=outputs), targets)
    assert found.tolist() == pytest.approx([sum(row) / len(row) for row in expected])


def test_tokens_of_a_sample_are_averaged() -> None:
    outputs = outputs_of(0, 2, 5, 3)
    targets = torch.tensor([[0, 1, 2], [4, 4, 0]])
    expected = [
        sum(naive_cross_entropy(outputs[n, :, t].tolist(), int(targets[n, t])) for t in range(3))
        / 3
        for n in range(2)
    ]
    assert cross_entropy(outputs, targets).tolist() == pytest.approx(expected)
    hits = (outputs.argmax(1) == targets).sum(1) / 3
    assert accuracy(outputs, targets).tolist() == pytest.approx(hits.tolist())


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3, 2)])
def test_mse_averages_over_a_sample(shape: tuple[int, ...]) -> None:
    outputs, targets = outputs_of(0, *shape), outputs_of(1, *shape)
    expected = [
        sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / len(x)
        for x, y in zip(
            outputs.reshape(4, -1).tolist(), targets.reshape(4, -1).tolist(), strict=True
        )
    ]
    assert mse(outputs, targets).tolist() == pytest.approx(expected)


def test_mse_refuses_to_broadcast() -> None:
    with pytest.raises(UserError, match=r"\(4, 1\) and \(4,\)"):
        mse(torch.zeros(4, 1), torch.zeros(4))


def test_the_outputs_may_hold_more_than_logits() -> None:
    logits, targets = outputs_of(0, 4, 3), torch.tensor([0, 1, 2, 0])
    for outputs in ({"logits": logits, "hidden": None}, SimpleNamespace(logits=logits)):
        assert torch.equal(cross_entropy(outputs, targets), cross_entropy(logits, targets))
        assert torch.equal(accuracy(outputs, targets), accuracy(logits, targets))
        assert torch.equal(mse(outputs, logits), mse(logits, logits))


@pytest.mark.parametrize("outputs", [(torch.ones(4, 3),), {"out": torch.ones(4, 3)}, None])
def test_outputs_without_logits_are_refused(outputs: object) -> None:
    kind = type(outputs).__name__
    with pytest.raises(UserError, match=f"returns {kind} without a tensor called logits"):
        cross_entropy(outputs, torch.tensor([0, 1, 2, 0]))


def test_metrics_by_name(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(
        "import torch\nclass M:\n    @staticmethod\n    def top(o, t): return o[:, 0]\n"
        "def own(o, t): return o[:, 1]\n"
    )
    loss = load_loss("my.py:own", tmp_path)
    metrics = load_metrics(["accuracy", "my.py:M.top", "loss"], loss, tmp_path)
    assert list(metrics) == ["accuracy", "top", "loss"]
    assert metrics["loss"] is loss
    assert metrics["accuracy"] is accuracy
    assert metrics["top"](torch.tensor([[1.0, 2.0]]), None).tolist() == [1.0]
    assert load_loss("mse", tmp_path) is mse

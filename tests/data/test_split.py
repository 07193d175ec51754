from __future__ import annotations

import torch

from lossgrid.data import Split


def test_length_counts_samples_of_any_pytree() -> None:
    assert len(Split({"a": [torch.zeros(5, 2)]}, torch.zeros(5))) == 5


def test_without_prepare_only_floats_are_cast() -> None:
    tokens, values = torch.arange(3), torch.ones(3, dtype=torch.float16)
    split = Split({"tokens": tokens, "values": values}, (tokens, values))
    inputs, targets = split.prepared(split.inputs, split.targets, torch.float64)
    assert inputs["tokens"] is tokens
    assert targets[0] is tokens
    assert inputs["values"].dtype == targets[1].dtype == torch.float64


def test_prepare_makes_the_inputs() -> None:
    split = Split(
        torch.arange(3, dtype=torch.uint8), torch.arange(3), lambda x, dtype: x.to(dtype) * 2
    )
    inputs, targets = split.prepared(split.inputs[1:], split.targets[1:], torch.float64)
    assert inputs.tolist() == [2.0, 4.0]
    assert inputs.dtype == torch.float64
    assert targets.tolist() == [1, 2]

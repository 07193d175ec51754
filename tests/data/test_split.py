from __future__ import annotations

import torch

from lossgrid.data import Split


def test_length_counts_samples_of_any_pytree() -> None:
    assert len(Split({"a": [torch.zeros(5, 2)]}, torch.zeros(5))) == 5


def test_without_prepare_only_floats_are_cast() -> None:
    tokens, values = torch.arange(3), torch.ones(3, dtype=torch.float16)
    split = Split({"tokens": tokens, "values": values}, (tokens, values))
    inputs, targets = split.batch(0, len(split), torch.float64)
    assert torch.equal(inputs["tokens"], tokens)
    assert torch.equal(targets[0], tokens)
    assert inputs["values"].dtype == targets[1].dtype == torch.float64


def test_prepare_makes_the_inputs() -> None:
    split = Split(
        torch.arange(3, dtype=torch.uint8), torch.arange(3), lambda x, dtype: x.to(dtype) * 2
    )
    inputs, targets = split.batch(1, len(split), torch.float64)
    assert inputs.tolist() == [2.0, 4.0]
    assert inputs.dtype == torch.float64
    assert targets.tolist() == [1, 2]


def test_neither_prepare_nor_loss_can_write_into_the_data() -> None:
    images, labels = torch.ones(3), torch.ones(3)
    inputs, targets = Split(images, labels, lambda x, dtype: x.sub_(1)).batch(0, 3, torch.float32)
    targets.sub_(1)
    assert inputs.tolist() == targets.tolist() == [0, 0, 0]
    assert images.tolist() == labels.tolist() == [1, 1, 1]

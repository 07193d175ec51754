from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lossgrid.data import Collated
from lossgrid.problem.splits import shuffled
from lossgrid.run.fingerprint import contents


def padded(words: list[list[int]]) -> tuple[dict[str, Tensor], Tensor]:
    longest = max(map(len, words))
    rows = torch.tensor([word + [0] * (longest - len(word)) for word in words])
    return {"rows": rows, "scale": rows.double() / 2}, torch.tensor([len(word) for word in words])


def scaled(words: list[list[int]]) -> tuple[dict[str, Tensor], Tensor]:
    inputs, targets = padded(words)
    return inputs, 2 * targets


WORDS = [[1], [2, 3], [4, 5, 6], [7, 8], [9]]


def test_batches_are_what_the_function_makes() -> None:
    split = Collated.of(WORDS, padded)
    assert len(split) == 5
    inputs, targets = split.batch(1, 3, torch.float32)
    assert inputs["rows"].tolist() == [[2, 3, 0], [4, 5, 6]]
    assert inputs["rows"].dtype == torch.int64
    assert inputs["scale"].dtype == torch.float32
    assert targets.tolist() == [2, 3]


def test_a_batch_is_a_copy() -> None:
    kept = torch.zeros(1)
    split = Collated.of([0], lambda items: (kept, kept))
    split.batch(0, 1, torch.float32)[0].add_(1)
    assert kept == 0


def test_what_is_no_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="collate made int where a tensor is needed"):
        Collated.of([0], lambda items: (torch.zeros(1), len(items))).batch(0, 1, torch.float32)


def test_the_order_is_of_samples() -> None:
    split = shuffled(Collated.of(WORDS, padded))
    order = split.inputs.tolist()
    assert order != sorted(order)
    assert split.batch(0, 5, torch.float32)[1].tolist() == [len(WORDS[i]) for i in order]


def test_the_fingerprint_is_of_what_is_read() -> None:
    split = Collated.of(WORDS, padded)
    assert contents(split) == contents(Collated.of([list(word) for word in WORDS], padded))
    assert contents(split) != contents(Collated.of([*WORDS[:-1], [10]], padded))
    assert contents(split) != contents(replace(split, collate=scaled))

"""How a network is given a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lossgrid.problem.forward import forward


class Sums(nn.Module):
    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        return first if second is None else first - second


class Takes(nn.Module):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["first"]


class TakesAnything(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> tuple[int, set[str]]:
        return len(args), set(kwargs)


def test_dicts_become_named_arguments_where_the_network_has_them() -> None:
    batch = {"second": torch.ones(2), "first": torch.full((2,), 3.0)}
    assert forward(Sums(), batch).tolist() == [2, 2]
    assert forward(Sums(), batch["first"]).tolist() == [3, 3]
    assert forward(Takes(), batch).tolist() == [3, 3]
    assert forward(TakesAnything(), batch) == (0, {"first", "second"})
    assert forward(TakesAnything(), (1, 2)) == (1, set())

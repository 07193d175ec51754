"""The widest result of a sample, whatever the weights' own sizes are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lossgrid.data import Split
from lossgrid.evaluate.widths import Widths, widths
from lossgrid.models import digits_cnn, resnet20
from tests.evaluate.test_evaluator import problem


class Merged(nn.Module):
    """Makes a weight far larger than what becomes of a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(3, 1)), nn.Parameter(torch.zeros(1, 900))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.a @ self.b)[:, :5]


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("network", "shape", "found"),
    [
        (resnet20(), (3, 32, 32), (16 * 32 * 32, True)),
        (digits_cnn(), (1, 8, 8), (8 * 8 * 8, True)),
        (nn.Linear(4, 3), (4,), (4, False)),
        (Merged(), (3,), (5, False)),
        (Decides(), (7,), (7, True)),
    ],
)
def test_widths(network: nn.Module, shape: tuple[int, ...], found: tuple[int, bool]) -> None:
    posed = problem(network.eval, train=Split(torch.zeros(5, *shape), torch.zeros(5)))
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert widths(posed) == Widths(*found, weights)


def test_the_widest_split_counts() -> None:
    splits = {
        name: Split({"x": torch.zeros(4, size)}, torch.zeros(4))
        for name, size in (("train", 3), ("test", 8))
    }
    assert widths(problem(nn.Identity, **splits)).widest == 8

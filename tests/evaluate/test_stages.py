"""The two parts of a network, one after the other, are the network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossgrid.evaluate.recording import UntraceableError
from lossgrid.evaluate.stages import split_by_weights
from lossgrid.evaluate.tracing import tensors_of, trace


class Merged(nn.Module):
    """A low-rank change of a weight, which needs no sample."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.a, self.b = (
            nn.Parameter(torch.randn(*shape)) for shape in ((4, 3), (4, 1), (1, 3))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.base + self.a @ self.b
        return x @ weight.t(), weight


class Noisy(Merged):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.base.t(), torch.rand(3)


class Accumulates(Merged):
    """Adds every batch to what it made of the weights."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.base * 2
        total += x
        return total


class Late(Merged):
    """Changes what it made of the weights after a batch has read it."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.base * 2
        first = x @ total.t()
        total.add_(1)
        return first + x @ total.t()


class Fills(Merged):
    """Puts results into memory that it has made without a sample."""

    def forward(self, x: Tensor) -> Tensor:
        result = torch.zeros(4, 3)
        torch.add(x, 1, out=result)
        return result @ self.base.t()


class Counts(Merged):
    """Adds every batch to statistics that it has made without a sample."""

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = torch.zeros(3), torch.ones(3)
        return F.batch_norm(x, mean, variance, training=True) + mean


def both(make: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return make().requires_grad_(False), torch.randn(4, 3)


def test_the_parts_are_the_whole() -> None:
    network, inputs = both(Merged)
    weights, batch = split_by_weights(trace(network, inputs))
    handed = weights(*tensors_of(network).values())
    for given in (inputs, inputs + 1):
        torch.testing.assert_close(batch(*handed, given), network(given))


def test_what_needs_no_sample_is_done_once_a_point() -> None:
    network, inputs = both(Merged)
    _, batch = split_by_weights(trace(network, inputs))
    operations = [str(node.target) for node in batch.graph.nodes if node.op == "call_function"]
    assert operations == ["aten.matmul.default", "aten.clone.default"]


def test_random_numbers_are_new_in_each_batch() -> None:
    network, inputs = both(Noisy)
    weights, batch = split_by_weights(trace(network, inputs))
    handed = weights(*tensors_of(network).values())
    assert not torch.equal(batch(*handed, inputs)[1], batch(*handed, inputs)[1])


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Accumulates, "next batch"),
        (Late, "has read before"),
        (Fills, "another argument than its first"),
        (Counts, "another argument than its first"),
    ],
)
def test_a_batch_leaves_the_next_one_what_it_needs(make: Callable[[], nn.Module], why: str) -> None:
    with pytest.raises(UntraceableError, match=why):
        split_by_weights(trace(*both(make)))

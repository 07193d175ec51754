"""A trace does what the network does with any tensors of the same shapes, or there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_unflatten

from lossgrid.evaluate.recording import WritesError
from lossgrid.evaluate.tracing import tensors_of, trace


def run(network: nn.Module, first: Any, inputs: Any) -> Any:
    """What the trace of a network on `first` makes of `inputs`."""
    traced = trace(network, first)
    module = fx.GraphModule(traced.owner, traced.graph)
    leaves = module(*tensors_of(network).values(), *tree_leaves(inputs))
    return tree_unflatten(leaves, traced.outputs)


def images(seed: int) -> Tensor:
    return torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.kept = torch.arange(2.0).view(2, 1, 1)  # outside the state


class Standardized(Layer):
    """Reads its weights past its modules."""

    def forward(self, x: Tensor) -> Tensor:
        weight = dict(self.named_parameters())["conv.weight"]
        return self.norm(F.conv2d(x, weight / weight.std(), padding=1)) + self.kept


class Aliases(Layer):
    """Overwrites what it reads again by another name."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        same, part = y, y[:, :1]
        y += 1
        return torch.relu_(same) + part


class Asks(Layer):
    """Has branches that inputs of a type or an optional argument decide."""

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        y = self.conv(x) if isinstance(x, Tensor) else x
        return y if shift is None else y + shift


class Structured(Layer):
    def forward(self, x: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.conv(x["a"])
        return y, {"both": y + x["b"], "same": x["b"]}


class Tied(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(2, 2, 3, padding=1)
        self.again.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.conv(x))


class Builds(Layer):
    """Makes tensors of its own: literals, by the device of others, into which it writes."""

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.tensor([1.0, 2.0])
        scale += torch.arange(2, device=x.device)
        scale *= torch.tensor([3.0, 4.0], device=x.device) + x.new_tensor(0.5)
        steps = torch.zeros(5, device=self.kept.device)
        steps[torch.tensor([0, 3])] = 1
        return self.conv(x.to(x.device, torch.float32)) * scale.view(2, 1, 1) + steps


class Reshapes(Layer):
    """Changes shapes in place, of a constant, and reads some of several results."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) + self.kept.view(1, 2, 1, 1)
        y.unsqueeze_(0).transpose_(-1, -2)
        first, second = y.squeeze(0).chunk(2, dim=1)
        return torch.cat([second.relu_(), first.max(dim=1, keepdim=True).values], dim=1)


@pytest.mark.parametrize("make", [Standardized, Aliases, Asks, Tied, Builds, Reshapes])
def test_it_does_the_same_with_other_inputs_and_weights(make: Callable[[], nn.Module]) -> None:
    network = make().eval().requires_grad_(False)
    first = images(1)
    trace(network, first)
    for tensor in tensors_of(network).values():
        tensor.add_(1)
    torch.testing.assert_close(run(network, first, images(2)), network(images(2)))


def test_inputs_and_outputs_have_any_structure() -> None:
    network = Structured().eval().requires_grad_(False)
    found = run(network, {"a": images(1), "b": images(1)}, {"a": images(2), "b": images(3)})
    torch.testing.assert_close(found, network({"a": images(2), "b": images(3)}))


class Decides(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class LooksAtOne(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sum().item()


class LooksAtAll(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x if torch.allclose(x, x.relu()) else -x


class Lists(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x * len(set(x.sum((1, 2, 3)).tolist()))


class Selects(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x - x[x > 0].mean()


class Finds(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x * len(torch.argwhere(x > 0))


class Counts(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return F.one_hot(x.flatten().argmax()).sum() * x


class Splits(Layer):
    def forward(self, x: Tensor) -> Tensor:
        first = torch.tensor_split(x, (x[0, 0, 0, :1] > 0).long() + 1)[0]
        return x * len(first)


class Packs(Layer):
    def forward(self, x: Tensor) -> Tensor:
        lengths = (x[:, 0, 0, 0] > 0).long() + 1
        return x * len(torch._pack_padded_sequence(x[:, 0], lengths.sort()[0].flip(0), True)[0])


class CountsNonzero(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.relu().to_sparse()._nnz()


class Hides(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.as_tensor([1.0, 2.0, 3.0, 4.0, 5.0], device=x.device)


class LeavesTorch(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)


class Overwrites(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.sub_(0.5))


class OverwritesPart(Layer):
    def forward(self, x: Tensor) -> Tensor:
        x[:, :1].mul_(2)
        return self.conv(x)


class OverwritesLists(Layer):
    def forward(self, x: Tensor) -> Tensor:
        torch._foreach_mul_([x], 0.9)
        return self.conv(x)


class OverwritesHidden(Layer):
    def forward(self, x: Tensor) -> Tensor:
        x.unsafe_split(1, 1)[0].mul_(0.5)
        return self.conv(x)


class Trains(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=True)


class Learns(Layer):
    def forward(self, x: Tensor) -> Tensor:
        self.norm.running_mean.add_(1)  # type: ignore[union-attr, operator]
        return self.norm(x)


class Autocasts(Layer):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.conv(x)


class Hooked(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv.register_forward_hook(lambda module, args, out: out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


REFUSED = [
    Decides,
    LooksAtOne,
    LooksAtAll,
    Lists,
    Selects,
    Finds,
    Counts,
    Splits,
    Packs,
    CountsNonzero,
    Hides,
    LeavesTorch,
    Overwrites,
    OverwritesPart,
    OverwritesLists,
    OverwritesHidden,
    Trains,
    Learns,
    Autocasts,
    Hooked,
]


@pytest.mark.parametrize("make", REFUSED)
def test_what_a_graph_can_not_say_is_refused(make: Callable[[], nn.Module]) -> None:
    network, inputs = make().eval().requires_grad_(False), images(1)
    given = inputs.clone()
    with pytest.raises(Exception):  # noqa: B017, PT011 (torch's own are many)
        trace(network, inputs)
    assert torch.equal(inputs, given)


@pytest.mark.parametrize("make", [Overwrites, OverwritesLists, Trains, Learns])
def test_who_writes_into_what_is_shared_is_known(make: Callable[[], nn.Module]) -> None:
    """Its copies must not run at a time."""
    with pytest.raises(WritesError):
        trace(make().eval().requires_grad_(False), images(1))


class Returns(Layer):
    """Its inputs, a part of them, and a weight."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x, x[:, :1], self.conv.weight, x + 1


def test_results_are_in_memory_of_their_own() -> None:
    network, inputs = Returns().eval().requires_grad_(False), images(1)
    given, weight = inputs.clone(), network.conv.weight.clone()
    for result in run(network, inputs, inputs):
        result.zero_()
    assert torch.equal(inputs, given)
    assert torch.equal(network.conv.weight, weight)

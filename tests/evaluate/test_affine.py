"""Sums of a first layer's images are its outputs, wherever a point lies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lossgrid.data import Split
from lossgrid.evaluate.affine import take_first_layer, take_images
from lossgrid.evaluate.graphs import state_of
from lossgrid.evaluate.tracing import trace
from lossgrid.space import Layout, Plane


class First(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.factor = torch.tensor(2.0, dtype=torch.float64)  # outside the state

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x * self.factor)).flatten(1)


class Skips(First):
    """Something else reads the inputs, too."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + x[:, :1]


class Shifts(First):
    """The inputs of the first layer move."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 4))
        self.shift = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.shift)


class Computes(First):
    """The first layer's weight is no tensor of the network."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.layer.weight.square())


def plane_of(network: nn.Module, moving: list[str], barycentric: bool) -> Plane:
    generator = torch.Generator().manual_seed(1)
    state = state_of(network)
    layout = Layout([(name, "weight", state[name].shape) for name in moving])
    others = torch.randn(2, layout.size, generator=generator, dtype=torch.float64)
    theta = layout.flatten(state, torch.float64)
    return Plane(layout, torch.cat([theta[None], others]), barycentric, {})


@pytest.mark.parametrize("barycentric", [False, True])
@pytest.mark.parametrize(
    "moving", [["layer.weight"], ["layer.bias"], ["layer.weight", "layer.bias"]]
)
@pytest.mark.parametrize(
    ("make", "shape"), [(lambda: nn.Linear(4, 3), (4,)), (lambda: nn.Conv2d(2, 3, 3), (2, 5, 5))]
)
def test_sums_of_images_are_outputs(
    make: Callable[[], nn.Module], shape: tuple[int, ...], moving: list[str], barycentric: bool
) -> None:
    torch.manual_seed(0)
    network = First(make()).double().requires_grad_(False)
    split = Split(torch.randn(7, *shape, dtype=torch.float64), torch.zeros(7))
    plane = plane_of(network, moving, barycentric)
    first = take_first_layer(trace(network, split.inputs[:3]))
    assert first is not None
    images = take_images(first.layer, split, state_of(network), plane, 3)
    assert images is not None
    assert len(images) == 7
    coefficients = torch.tensor(plane.coefficients(0.3, -0.7), dtype=torch.float64)
    found = torch.einsum("k,nk...->n...", coefficients, images.inputs)

    moved = torch.empty(plane.layout.size, dtype=torch.float64)
    plane.move(moved, 0.3, -0.7)
    state = state_of(network) | plane.layout.views(moved)
    wanted = torch.func.functional_call(network, state, (split.inputs,))
    torch.testing.assert_close(F.relu(found).flatten(1), wanted, rtol=1e-12, atol=1e-12)


def test_the_rest_makes_of_images_what_the_network_makes_of_inputs() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    inputs = torch.randn(5, 4, dtype=torch.float64)
    plane = plane_of(network, ["0.weight", "2.bias"], False)
    first = take_first_layer(trace(network, inputs))
    assert first is not None
    state = state_of(network)
    images = take_images(first.layer, Split(inputs, torch.zeros(5)), state, plane, 5)
    assert images is not None
    rest = torch.fx.GraphModule(first.rest.owner, first.rest.graph)
    coefficients = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert first.rest.names == [*state, "coefficients"]
    (outputs,) = rest(*state.values(), coefficients, *tree_leaves(images.inputs))
    torch.testing.assert_close(outputs, network(inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("network", [Skips(nn.Linear(4, 4)), Shifts(), Computes(nn.Linear(4, 4))])
def test_no_images_where_there_is_no_such_layer(network: nn.Module) -> None:
    assert take_first_layer(trace(network, torch.zeros(3, 4))) is None


class Flattens(nn.Module):
    """Knows the size of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.view(x.size(0), -1))


def images_of(inputs: Tensor, batch_size: int) -> Split | None:
    torch.manual_seed(0)
    network = Flattens().double().requires_grad_(False)
    first = take_first_layer(trace(network, inputs[:batch_size]))
    assert first is not None
    split = Split(inputs, torch.zeros(len(inputs)))
    plane = plane_of(network, ["layer.weight"], False)
    return take_images(first.layer, split, state_of(network), plane, 3)


def test_a_network_may_know_its_batch_size() -> None:
    inputs = torch.randn(7, 2, 2, dtype=torch.float64)
    images = images_of(inputs, 3)
    assert images is not None
    assert len(images) == 7


def test_no_images_of_what_is_not_finite() -> None:
    inputs = torch.randn(7, 2, 2, dtype=torch.float64)
    inputs[6, 0, 0] = torch.inf
    assert images_of(inputs, 3) is None


def test_no_images_that_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network = First(nn.Linear(4, 3))
    split = Split(torch.zeros(9, 4), torch.zeros(9))
    first = take_first_layer(trace(network, split.inputs))
    assert first is not None
    monkeypatch.setattr("lossgrid.evaluate.affine.LARGEST_IMAGES", 9 * 3 * 3 * 4 - 1)
    plane = plane_of(network, ["layer.weight"], False)
    plane = plane.to(torch.device("cpu"), torch.float32)
    assert take_images(first.layer, split, state_of(network), plane, 4) is None

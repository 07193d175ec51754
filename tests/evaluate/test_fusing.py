"""A fused network returns what the network does; float64 leaves no room for another formula."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from lossgrid.evaluate import fusing
from lossgrid.evaluate.fusing import (
    cast_layers,
    fold_norms,
    join_convolutions,
    keep_copies,
    lay_out_channels_last,
    let_views_copy,
    work_in_place,
)
from lossgrid.evaluate.tracing import aten, retype, tensors_of, trace
from lossgrid.models import resnet20


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with BatchNorm statistics, scales and shifts that matter."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double().eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            spread = 0.5 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(spread + 0.5 if "var" in name else spread - 0.25)
    return network


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


class Fused:
    """A traced network after both rewritings, as a function of the network's own tensors."""

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        traced = trace(network, inputs)
        fold_norms(traced.graph)
        work_in_place(traced.graph)
        self.network = network
        self.graph = traced.graph
        self.module = fx.GraphModule(traced.owner, traced.graph)

    def __call__(self, inputs: Tensor) -> Tensor:
        (outputs,) = self.module(*tensors_of(self.network).values(), inputs)
        found: Tensor = outputs
        return found

    def count(self, *operations: object) -> int:
        return sum(node.target in operations for node in self.graph.nodes)

    @property
    def norms_left(self) -> int:
        return self.count(aten.batch_norm.default)

    @property
    def in_place(self) -> int:
        return self.count(aten.relu_.default, aten.add_.Tensor)


class Twice(nn.Module):
    """One convolution and one norm, each read in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.norm(self.conv(x))))


class ScalesLater(nn.Module):
    """A norm whose scale is made after the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out, norm = self.conv(x), self.norm
        return F.batch_norm(out, norm.running_mean, norm.running_var, norm.weight * 2, norm.bias)


class Reads(nn.Module):
    """Reads a convolution's weight by itself, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.norm(self.conv(x)), self.conv.weight)


FOLDABLE: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), (5, 3, 8)),
    (lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (5, 4, 6, 6)),
    (lambda: nn.Sequential(nn.Conv3d(1, 2, 2, bias=False), nn.BatchNorm3d(2)), (5, 1, 3, 3, 3)),
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU()), (5, 4)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, affine=False)), (5, 2, 4, 4)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, eps=0.3)), (5, 2, 4, 4)),
    (Twice, (5, 2, 4, 4)),
    (Reads, (5, 2, 4, 4)),
    (lambda: resnet20("A"), (3, 3, 32, 32)),
    (lambda: resnet20("B"), (3, 3, 32, 32)),
]


@pytest.mark.parametrize(("make", "shape"), FOLDABLE)
def test_every_norm_is_folded(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    network, inputs = trained(make()), images(*shape)
    found = Fused(network, inputs)
    assert found.norms_left == 0
    torch.testing.assert_close(found(inputs), network(inputs), rtol=1e-11, atol=1e-11)


def test_it_moves_with_the_network() -> None:
    network, inputs = trained(resnet20()), images(2, 3, 32, 32)
    found = Fused(network, inputs)
    network.load_state_dict(trained(resnet20(), seed=1).state_dict())
    torch.testing.assert_close(found(inputs), network(inputs), rtol=1e-11, atol=1e-11)


def test_the_network_itself_is_left_alone() -> None:
    network, inputs = trained(resnet20()), images(2, 3, 32, 32)
    state, outputs = copy.deepcopy(network.state_dict()), network(inputs)
    found = Fused(network, inputs)
    given = inputs.clone()
    found(inputs)
    assert torch.equal(inputs, given)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(network(inputs), outputs)


def test_sums_and_relus_work_in_place() -> None:
    network, inputs = trained(resnet20()), images(2, 3, 32, 32)
    assert Fused(network, inputs).in_place == 19 + 9


class Peeks(nn.Module):
    """Reads what the norm reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return F.relu(self.norm(y)) + y


class Scaled(nn.Conv2d):
    """Looks like a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def in_training() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))


def over_sequences() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(6))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Peeks, (5, 2, 4, 4)),
        (lambda: nn.Sequential(Scaled(2, 3, 1), nn.BatchNorm2d(3)), (5, 2, 4, 4)),
        (in_training, (5, 2, 4, 4)),
        (over_sequences, (5, 6, 4)),
        (ScalesLater, (5, 2, 4, 4)),
    ],
)
def test_what_can_not_be_folded_stays(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    network, inputs = trained(make()), images(*shape)
    found = Fused(network, inputs)
    assert found.norms_left == 1
    torch.testing.assert_close(found(inputs), network(inputs), rtol=1e-12, atol=1e-12)


class Tangled(nn.Module):
    """Operands that others read as well, broadcasts, and types that a sum changes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        row = self.a(x[:, :, :1])
        kept = F.relu(a) + a
        wide = row + b
        same = self.b(kept)
        doubled = same + same
        return F.relu(wide + kept) + torch.add(doubled, b, alpha=3) + (self.a(x) > 0)


class Overwrites(nn.Module):
    """Works in place by itself, on what it reads again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        y = torch.relu_(x) + x[:, :1]
        return F.relu(self.conv(y)) + x


@pytest.mark.parametrize("make", [Tangled, Overwrites])
def test_nothing_is_overwritten_that_is_read_again(make: Callable[[], nn.Module]) -> None:
    network, inputs = trained(make()), images(5, 2, 4, 4)
    found = Fused(network, inputs)
    assert found.in_place > 0
    torch.testing.assert_close(found(inputs), network(inputs), rtol=1e-12, atol=1e-12)


def test_threads_do_not_disturb_each_other() -> None:
    network = trained(resnet20())
    batches = [images(2, 3, 32, 32) + number for number in range(8)]
    found = Fused(network, batches[0])
    alone = [found(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(found, batches))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


class Joined(Fused):
    """All rewritings, as they are done on a CPU."""

    def __init__(self, network: nn.Module, inputs: Tensor, low: bool = False) -> None:
        traced = trace(network, inputs)
        fold_norms(traced.graph)
        keep_copies(traced.graph)
        let_views_copy(traced.graph)
        if low:
            cast_layers(traced.graph, torch.bfloat16)
            retype(traced, [*tensors_of(network).values(), inputs], autocast())
        join_convolutions(traced.graph)
        lay_out_channels_last(traced.graph)
        work_in_place(traced.graph)
        self.network = network
        self.graph = traced.graph
        self.module = fx.GraphModule(traced.owner, traced.graph)

    @property
    def joined(self) -> int:
        mkldnn = torch.ops.mkldnn
        return self.count(
            mkldnn._convolution_pointwise.default, mkldnn._convolution_pointwise_.binary
        )

    @property
    def elementwise(self) -> int:
        return self.in_place + self.count(aten.relu.default, aten.add.Tensor)


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


def assert_alike(found: Tensor, true: Tensor, share: float) -> None:
    """Within a share of the largest value."""
    assert found.shape == true.shape
    assert (found - true).abs().max() <= share * true.abs().max() + 1e-30


@pytest.mark.parametrize("option", ["A", "B", "none"])
@pytest.mark.parametrize("low", [False, True])
def test_convolutions_do_sums_and_relus(option: str, low: bool) -> None:
    network, inputs = resnet20(option).eval().requires_grad_(False), images(3, 3, 32, 32).float()
    found = Joined(network, inputs, low)
    assert found.joined == (21 if option == "B" else 19)
    assert found.elementwise == 0
    assert found.count(aten.clone.default) == 0  # sums overwrite what the block was given
    if low:
        with autocast():
            outputs, true = found(inputs), network(inputs)
        assert outputs.dtype == true.dtype == torch.bfloat16
        assert_alike(outputs.float(), network(inputs), 0.03)
    else:
        assert_alike(found(inputs), network(inputs), 1e-5)


def wrong(*arguments: object) -> Tensor:
    """An operation of another torch, say, that computes something else."""
    return torch.ones(1, 16, 8, 8)


WRONG = SimpleNamespace(
    _reorder_convolution_weight=SimpleNamespace(default=wrong),
    _convolution_pointwise=SimpleNamespace(default=wrong),
    _convolution_pointwise_=SimpleNamespace(binary=wrong),
)


@pytest.mark.parametrize("operations", [object(), WRONG])
def test_where_convolutions_can_not_join_they_stay(
    operations: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, inputs = resnet20().eval().requires_grad_(False), images(3, 3, 32, 32).float()
    with monkeypatch.context() as patch:
        patch.setattr(fusing, "mkldnn", operations)
        fusing.can_join.cache_clear()
        found = Joined(network, inputs)
    fusing.can_join.cache_clear()
    assert found.joined == 0
    assert found.count(aten.conv2d.default) == 19
    assert_alike(found(inputs), network(inputs), 1e-5)


class Odd(nn.Module):
    """Sums and ReLUs that no convolution may do, and one that it may."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        twice = self.a(x)
        broadcast = self.a(x[:1]) + twice
        scaled = torch.add(self.a(x), twice, alpha=2)
        doubled = self.a(x)
        doubled = doubled + doubled
        grouped = self.b(x) + twice
        number = self.a(x) + 1
        return F.relu(self.a(x)) + broadcast + scaled + doubled + grouped + number


def test_what_can_not_be_joined_is_left() -> None:
    network, inputs = Odd().requires_grad_(False), images(5, 2, 4, 4).float()
    found = Joined(network, inputs)
    assert found.joined == 7
    assert found.elementwise == 5 + 5
    assert_alike(found(inputs), network(inputs), 1e-5)


class ReadsAgain(nn.Module):
    """What a convolution adds to is read by others: before, beside, or after the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        before = self.a(x)
        first = self.b(before.sin()) + before
        beside = self.a(first)
        second = self.b(beside) + beside
        after = self.a(second)
        return self.b(second) + after + after.cos()


def test_what_is_read_again_is_copied_before_a_sum() -> None:
    network, inputs = ReadsAgain().requires_grad_(False), images(5, 2, 4, 4).float()
    found = Joined(network, inputs)
    assert found.joined == 6
    assert found.count(aten.clone.default) == 2
    assert_alike(found(inputs), network(inputs), 1e-5)


class Flattens(nn.Module):
    """Views images as rows before a linear layer, as many networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 4, 3), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.conv(x))
        x = F.relu(x.view(x.size(0), -1))
        return torch.relu_(self.linear(x))


def test_images_can_be_viewed_as_rows() -> None:
    network, inputs = Flattens().requires_grad_(False), images(5, 2, 4, 4).float()
    found = Joined(network, inputs)
    assert found.joined == 1
    assert_alike(found(inputs), network(inputs), 1e-5)


class WritesViews(nn.Module):
    """Writes into a part of its view, and into what it has viewed."""

    def __init__(self, into_view: bool) -> None:
        super().__init__()
        self.into_view = into_view

    def forward(self, x: Tensor) -> Tensor:
        whole = x + 1
        rows = whole.view(x.size(0), -1)
        (rows[:, :1] if self.into_view else whole).mul_(2)
        return rows + whole.flatten(1)


@pytest.mark.parametrize("into_view", [False, True])
def test_views_stay_that_are_written_into(into_view: bool) -> None:
    network, inputs = WritesViews(into_view), images(5, 2, 4, 4)
    found = Joined(network, inputs)
    assert found.count(aten.view.default) == 1
    torch.testing.assert_close(found(inputs), network(inputs), rtol=0, atol=0)


class WritesCopies(nn.Module):
    """Writes into its copy of an image, or into what it has copied, and reads both."""

    def __init__(self, copied: Callable[[Tensor], Tensor], into_copy: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 1)
        self.copied, self.into_copy = copied, into_copy

    def forward(self, x: Tensor) -> Tensor:
        whole = self.conv(x)
        copied = self.copied(whole)
        (copied if self.into_copy else whole).mul_(2)
        return copied.flatten(1) + whole.flatten(1)


def ordered(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def as_rows(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(x.size(0), -1)


@pytest.mark.parametrize("copied", [ordered, as_rows])
@pytest.mark.parametrize("into_copy", [False, True])
def test_copies_stay_that_are_written_into(
    copied: Callable[[Tensor], Tensor], into_copy: bool
) -> None:
    network = WritesCopies(copied, into_copy).requires_grad_(False)
    inputs = images(5, 2, 4, 4).float()
    found = Joined(network, inputs)
    assert_alike(found(inputs), network(inputs), 1e-5)


def test_copies_that_nobody_writes_into_are_not_made_twice() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(inplace=True), Applied(as_rows))
    inputs = images(5, 2, 4, 4).float()
    found = Joined(network.requires_grad_(False), inputs)
    assert found.count(aten.clone.default) == 0
    assert_alike(found(inputs), network(inputs), 1e-5)


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


Step = tuple[str, int, int]
STEPS = ("conv", "other conv", "grouped", "norm", "relu", "relu_", "add", "add_", "row", "half")


class Program(nn.Module):
    """Does one step after the other with any earlier results; returns the last."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.steps = steps
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), bias=False)
        self.grouped = nn.Conv2d(4, 4, 1, groups=2)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        found = [x.clone(), self.conv(x)]
        for name, i, j in self.steps:
            a, b = found[i % len(found)], found[j % len(found)]
            found.append(self.step(name, a, b))
        return found[-1]

    def step(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        wide = a.expand(len(b), 4, 4, 4) if len(a) == 1 else a
        match name:
            case "conv":
                return cast("Tensor", self.conv(wide))
            case "other conv":
                return cast("Tensor", self.other(wide))
            case "grouped":
                return cast("Tensor", self.grouped(wide))
            case "norm":
                return cast("Tensor", self.norm(wide))
            case "relu":
                return F.relu(a)
            case "relu_":
                return a.relu_()
            case "add":
                return a + b
            case "add_":
                if len(a) > len(b):  # which may be a part of it
                    return a.add_(b * 1)
                return a.add_(b) if len(a) == len(b) else a + b
            case "row":
                return a[:1]
            case _:
                return a * 0.5


programs = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9)), max_size=9
)


@given(programs)
@example([("conv", 1, 0), ("relu_", 1, 0), ("add", 2, 0)])  # what it reads changes before the sum
@example([("conv", 1, 0), ("row", 1, 0), ("relu_", 3, 0), ("add", 2, 1)])
@example([("row", 1, 0), ("conv", 1, 0), ("add_", 1, 3), ("add", 4, 2)])  # others see the sum
@example([("conv", 0, 0), ("relu_", 0, 0), ("norm", 2, 0)])  # what a layer reads changes after it
@example([("norm", 1, 0), ("norm", 2, 0)])
@settings(max_examples=40, deadline=None)
def test_any_program_gives_the_same_values(steps: list[Step]) -> None:
    network = trained(Program(steps))
    for dtype, share in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        network, inputs = network.to(dtype), images(3, 4, 4, 4).to(dtype)
        assert_alike(Joined(network, inputs)(inputs), network(inputs), share)


@given(programs)
@settings(max_examples=20, deadline=None)
def test_any_program_works_in_low_precision(steps: list[Step]) -> None:
    network, inputs = trained(Program(steps)).float(), images(3, 4, 4, 4).float()
    found = Joined(network, inputs, low=True)
    with autocast():
        assert_alike(found(inputs), network(inputs), 0.05)

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossgrid.errors import UserError
from lossgrid.job import DirectionsSpec
from lossgrid.space.layout import Layout


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.act = nn.PReLU()
        self.embed = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(3, 4)
        self.out.weight = self.embed.weight  # tied

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn(self.conv(x))).mean(dim=(2, 3))
        return self.norm(self.embed(x)) + self.out(x)


@pytest.fixture
def model() -> Network:
    torch.manual_seed(0)
    return Network().eval()


def directions(**keys: Any) -> DirectionsSpec:
    return DirectionsSpec.model_validate(keys)


def names(layout: Layout) -> list[str]:
    return [entry.name for entry in layout.entries]


def test_groups(model: Network) -> None:
    layout = Layout.of(model, directions(ignore=[]))
    groups = {entry.name: entry.group for entry in layout.entries}
    assert groups == {
        "conv.weight": "weight",
        "conv.bias": "bias",
        "bn.weight": "norm",
        "bn.bias": "norm",
        "act.weight": "bias",
        "embed.weight": "weight",
        "embed.bias": "bias",
        "norm.weight": "norm",
        "norm.bias": "norm",
        "out.bias": "bias",
    }  # and out.weight, which is embed.weight, only once


def test_ignored_groups_stay_still(model: Network) -> None:
    assert names(Layout.of(model, directions())) == ["conv.weight", "embed.weight"]


def test_patterns_choose(model: Network) -> None:
    spec = directions(ignore=[], parameters=["conv.*", "*norm.bias"])
    assert names(Layout.of(model, spec)) == ["conv.weight", "conv.bias", "norm.bias"]


def test_state_adds_running_statistics_but_no_counter(model: Network) -> None:
    spec = directions(ignore=[], parameters="bn.*", include="state")
    found = names(Layout.of(model, spec))
    assert found == ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]


def test_nothing_left_to_move(model: Network) -> None:
    with pytest.raises(UserError, match=r"nothing moves.*lora.*conv\.weight"):
        Layout.of(model, directions(parameters="*lora*"))


def test_entries_tile_the_vector(model: Network) -> None:
    layout = Layout.of(model, directions(ignore=[], include="state"))
    begin = 0
    for entry in layout.entries:
        assert entry.begin == begin
        begin = entry.end
    assert begin == layout.size == sum(entry.shape.numel() for entry in layout.entries)


def test_writing_the_vector_moves_the_model(model: Network) -> None:
    layout = Layout.of(model, directions(ignore=[], include="state"))
    flat = torch.empty(layout.size)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    flat.copy_(layout.flatten(state, torch.float32))
    other = Network().eval()
    layout.bind(other, flat)
    x = torch.randn(2, 1, 5, 5)
    with torch.no_grad():
        assert torch.equal(other(x), model(x))
        flat.mul_(1.5)
        for tensor in (*model.parameters(), model.bn.running_mean, model.bn.running_var):
            tensor.mul_(1.5)
        assert torch.equal(other(x), model(x))


def test_absent_names_are_zero_in_the_vector(model: Network) -> None:
    layout = Layout.of(model, directions())
    flat = layout.flatten({"embed.weight": model.embed.weight}, torch.float64)
    assert not flat[: layout.entries[0].end].any()
    assert torch.equal(flat[layout.entries[0].end :].float(), model.embed.weight.flatten())


class Waves(nn.Module):
    """Complex weights of each number of dimensions between real ones, and a complex buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(3))
        self.mix = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))
        self.shift = nn.Parameter(torch.randn(4, dtype=torch.complex64))
        self.phase = nn.Parameter(torch.randn((), dtype=torch.complex64))
        self.register_buffer("window", torch.randn(3, dtype=torch.complex64))
        self.window: Tensor

    def forward(self, x: Tensor) -> Tensor:
        waves = (self.gain * x * self.window) @ self.mix.T + self.shift
        return (self.phase * waves).abs()


def test_complex_numbers_are_moved_by_their_parts() -> None:
    model = Waves()
    layout = Layout.of(model, directions(include="state", ignore=[]))
    assert layout.is_complex
    assert layout.size == 3 + 2 * (4 * 3 + 4 + 1 + 3)
    shapes = {entry.name: tuple(entry.shape) for entry in layout.entries}
    assert shapes == {"gain": (3,), "mix": (4, 6), "shift": (8,), "phase": (2,), "window": (6,)}
    state = layout.state(model)
    assert torch.equal(state["mix"][:, ::2], model.mix.detach().real)
    assert torch.equal(state["mix"][:, 1::2], model.mix.detach().imag)

    x = torch.randn(5, 3)
    for dtype, kind in [(torch.float32, torch.complex64), (torch.float64, torch.complex128)]:
        moved = Waves()
        flat = layout.flatten(state, dtype)
        layout.bind(moved, flat)
        assert moved.mix.dtype == moved.window.dtype == kind
        assert torch.allclose(moved(x.to(dtype)).float(), model(x))
        flat *= 2
        assert torch.allclose(moved.phase, 2 * model.phase.to(kind))

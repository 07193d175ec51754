from __future__ import annotations

import pytest
import torch
from torch import nn

from lossgrid import models
from lossgrid.models.resnet import PaddedSubsampling


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def expected_parameters(depth: int, width: int, projections: bool) -> int:
    """Counted from table 6 of He et al.: convolutions, two numbers a BatchNorm channel, linear."""
    blocks = (depth - 2) // 6
    stages = [16 * width, 32 * width, 64 * width]
    total = 9 * 3 * stages[0] + 2 * stages[0]
    inplanes = stages[0]
    for planes in stages:
        total += 9 * inplanes * planes + (2 * blocks - 1) * 9 * planes**2 + 2 * blocks * 2 * planes
        if projections and planes != inplanes:
            total += inplanes * planes + 2 * planes
        inplanes = planes
    return total + 10 * stages[2] + 10


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_parameter_counts(depth: int, shortcut: str) -> None:
    model = getattr(models, f"resnet{depth}")(shortcut=shortcut)
    assert parameters(model) == expected_parameters(depth, 1, shortcut == "B")


def test_published_parameter_counts() -> None:
    assert parameters(models.resnet20()) == 269_722
    assert parameters(models.resnet56()) == 853_018
    assert parameters(models.resnet20("B")) == 272_474
    assert parameters(models.resnet56("B")) == 855_770


@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_width_multiplies_channels(shortcut: str) -> None:
    model = models.resnet20(shortcut, width=3, num_classes=7).eval()  # type: ignore[arg-type]
    assert model.layer3[0].conv1.weight.shape == (192, 96, 3, 3)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_shortcut_a_subsamples_and_pads_channels_on_both_sides() -> None:
    x = torch.arange(2 * 4 * 6 * 8, dtype=torch.float32).reshape(2, 4, 6, 8)
    out = PaddedSubsampling(4, 8, stride=2)(x)
    assert out.shape == (2, 8, 3, 4)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert not out[:, :2].any()
    assert not out[:, 6:].any()


def block_with_dead_convolutions(shortcut: str) -> nn.Module:
    """A first block of a stage whose two convolutions contribute nothing."""
    block = models.resnet20(shortcut).eval().layer2[0]  # type: ignore[arg-type]
    nn.init.zeros_(block.bn2.weight)
    return block


def test_blocks_add_their_shortcut() -> None:
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        by_a = block_with_dead_convolutions("A")(x)
        projecting = block_with_dead_convolutions("B")
        by_b, projected = projecting(x), projecting.shortcut(x)
        by_none = block_with_dead_convolutions("none")(x)
    assert torch.equal(by_a[:, 8:24], x[:, :, ::2, ::2].relu())
    assert by_b.any()
    assert torch.equal(by_b, projected.relu())
    assert not by_none.any()


@pytest.mark.parametrize("kwargs", [{"shortcut": "C"}, {"width": 0}, {"num_classes": 0}])
def test_refuses_senseless_arguments(kwargs: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        models.resnet20(**kwargs)  # type: ignore[arg-type]


def test_names_of_the_published_checkpoints() -> None:
    entries = models.resnet20().state_dict()
    names = {name for name in entries if not name.endswith("num_batches_tracked")}
    norm = ("weight", "bias", "running_mean", "running_var")
    expected = {"conv1.weight", "linear.weight", "linear.bias"} | {f"bn1.{leaf}" for leaf in norm}
    for stage in (1, 2, 3):
        for block in range(3):
            for number in (1, 2):
                at = f"layer{stage}.{block}"
                expected.add(f"{at}.conv{number}.weight")
                expected |= {f"{at}.bn{number}.{leaf}" for leaf in norm}
    assert names == expected

from __future__ import annotations

import pytest
import torch
from torch import nn

from lossgrid import models
from lossgrid.models.resnet import Bottleneck, PaddedSubsampling
from tests.models.names import layer, norm


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def expected_parameters(
    stages: list[int], filters: int, projections: bool, bottlenecks: bool = False
) -> int:
    """Counted from tables 1 and 6 of He et al.: convolutions, two numbers a BatchNorm channel."""
    total = 9 * 3 * filters + 2 * filters
    inplanes = filters
    for number, blocks in enumerate(stages):
        planes = filters * 2**number
        wide = 4 * planes if bottlenecks else planes
        for block in range(blocks):
            if bottlenecks:
                total += inplanes * planes + 9 * planes**2 + planes * wide + 2 * (2 * planes + wide)
            else:
                total += 9 * inplanes * planes + 9 * planes**2 + 2 * 2 * planes
            if projections and block == 0 and (number > 0 or wide != inplanes):
                total += inplanes * wide + 2 * wide
            inplanes = wide
    return total + 10 * inplanes + 10


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_parameter_counts(depth: int, shortcut: str) -> None:
    model = getattr(models, f"resnet{depth}")(shortcut=shortcut)
    assert parameters(model) == expected_parameters([(depth - 2) // 6] * 3, 16, shortcut == "B")


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("shortcut", ["B", "none"])
def test_parameter_counts_of_wide_resnet56(width: int, shortcut: str) -> None:
    model = models.resnet56(shortcut, width=width)  # type: ignore[arg-type]
    assert parameters(model) == expected_parameters([9, 9, 9], 16 * width, shortcut == "B")


STAGES = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}


@pytest.mark.parametrize("depth", STAGES)
@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_parameter_counts_with_64_filters(depth: int, shortcut: str) -> None:
    model = getattr(models, f"resnet{depth}")(shortcut=shortcut)
    expected = expected_parameters(STAGES[depth], 64, shortcut == "B", bottlenecks=depth == 50)
    assert parameters(model) == expected


def test_published_parameter_counts() -> None:
    """He et al., table 6, in millions; to the number as other implementations count them."""
    assert parameters(models.resnet20()) == 269_722
    assert parameters(models.resnet56()) == 853_018
    assert parameters(models.resnet20("B")) == 272_474
    assert parameters(models.resnet56("B")) == 855_770
    assert parameters(models.resnet18()) == 11_173_962
    assert parameters(models.resnet34()) == 21_282_122
    assert parameters(models.resnet50()) == 23_520_842
    millions = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
    for depth, published in millions.items():
        found = parameters(getattr(models, f"resnet{depth}")()) / 1e6
        assert found == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_width_multiplies_channels(shortcut: str) -> None:
    model = models.resnet20(shortcut, width=3, num_classes=7).eval()  # type: ignore[arg-type]
    assert model.layer3[0].conv1.weight.shape == (192, 96, 3, 3)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_stages_halve_images_and_double_channels(depth: int) -> None:
    model = getattr(models, f"resnet{depth}")().eval()
    x = torch.zeros(1, 64, 32, 32)
    wide = 4 if depth == 50 else 1
    for number in range(4):
        x = model.get_submodule(f"layer{number + 1}")(x)
        assert x.shape == (1, wide * 64 * 2**number, 32 >> number, 32 >> number)
    assert model.layer4[0].conv1.stride == ((1, 1) if depth == 50 else (2, 2))


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


def names(model: nn.Module) -> set[str]:
    return {name for name in model.state_dict() if not name.endswith("num_batches_tracked")}


def expected_names(stages: list[int], layers: int, projected: set[str]) -> set[str]:
    """As published: blocks of so many layers; those that are `projected` have a shortcut."""
    expected = {"conv1.weight", *norm("bn1"), *layer("linear")}
    for stage, blocks in enumerate(stages, start=1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            for number in range(1, layers + 1):
                expected |= {f"{at}.conv{number}.weight", *norm(f"{at}.bn{number}")}
            if at in projected:
                expected |= {f"{at}.shortcut.0.weight", *norm(f"{at}.shortcut.1")}
    return expected


def test_names_of_the_published_checkpoints() -> None:
    assert names(models.resnet20()) == expected_names([3, 3, 3], 2, set())


def test_names_of_the_reference_code() -> None:
    """Those of github.com/tomgoldstein/loss-landscape, whose checkpoints load as they are."""
    assert names(models.resnet56("B")) == expected_names([9] * 3, 2, {"layer2.0", "layer3.0"})
    assert names(models.resnet56("none")) == expected_names([9] * 3, 2, set())
    assert names(models.resnet56("B", width=2)) == names(models.resnet56("B"))
    narrowing = {"layer2.0", "layer3.0", "layer4.0"}
    assert names(models.resnet18()) == expected_names(STAGES[18], 2, narrowing)
    assert names(models.resnet18("none")) == expected_names(STAGES[18], 2, set())
    assert names(models.resnet50()) == expected_names(STAGES[50], 3, narrowing | {"layer1.0"})
    assert names(models.resnet50("none")) == expected_names(STAGES[50], 3, set())


def bottleneck(shortcut: str) -> nn.Module:
    """Of which the third convolution contributes nothing but -1 in every second channel."""
    block = Bottleneck(4, 2, 2, shortcut).eval()  # type: ignore[arg-type]
    nn.init.zeros_(block.bn3.weight)
    with torch.no_grad():
        block.bn3.bias[::2] = -1.0
    return block


def test_bottlenecks_add_their_shortcut_and_clip_the_sum() -> None:
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    minus = torch.tensor([-1.0, 0.0]).repeat(4)[:, None, None]
    with torch.no_grad():
        projecting = bottleneck("B")
        assert torch.equal(projecting(x), (projecting.shortcut(x) + minus).relu())
        padded = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        assert torch.equal(bottleneck("A")(x), (padded + minus).relu())


def test_bottlenecks_without_shortcut_end_in_batchnorm() -> None:
    """As in the reference code, whose other blocks end in a ReLU."""
    with torch.no_grad():
        found = bottleneck("none")(torch.zeros(1, 4, 6, 6))
    assert torch.equal(found[0, :, 0, 0], torch.tensor([-1.0, 0.0]).repeat(4))

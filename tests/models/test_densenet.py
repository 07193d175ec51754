from __future__ import annotations

import torch

from lossgrid.models import densenet121
from lossgrid.models.densenet import DenseLayer, DenseNet
from tests.models.names import layer, norm

BLOCKS = [6, 12, 24, 16]


def test_parameter_count() -> None:
    """Counted from table 1 of Huang et al., with a 3 x 3 convolution first and 10 classes."""
    growth, planes = 32, 64
    expected = 9 * 3 * planes
    for number, layers in enumerate(BLOCKS):
        for _ in range(layers):
            expected += 2 * planes + 4 * growth * planes  # BatchNorm, then 1 x 1
            expected += 2 * 4 * growth + 9 * 4 * growth * growth  # BatchNorm, then 3 x 3
            planes += growth
        if number < 3:
            expected += 2 * planes + planes * planes // 2
            planes //= 2
    expected += 2 * planes + 10 * planes + 10
    assert sum(weight.numel() for weight in densenet121().parameters()) == expected == 6_956_298


def test_names_of_the_reference_code() -> None:
    """Those of github.com/tomgoldstein/loss-landscape, whose checkpoints load as they are."""
    expected = {"conv1.weight", *norm("bn"), *layer("linear")}
    for number, layers in enumerate(BLOCKS, start=1):
        if number > 1:
            expected |= {f"trans{number - 1}.conv.weight", *norm(f"trans{number - 1}.bn")}
        for one in range(layers):
            for part in (1, 2):
                at = f"dense{number}.{one}"
                expected |= {f"{at}.conv{part}.weight", *norm(f"{at}.bn{part}")}
    names = {n for n in densenet121().state_dict() if not n.endswith("num_batches_tracked")}
    assert names == expected


def test_layers_put_new_channels_before_the_old() -> None:
    x = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = DenseLayer(5, 3).eval()(x)
    assert found.shape == (2, 8, 4, 4)
    assert torch.equal(found[:, 3:], x)


def test_transitions_halve_images() -> None:
    model = DenseNet([1, 1, 1, 1], 2, num_classes=7).eval()
    heights = []
    x = torch.zeros(2, 3, 32, 32)
    for module in model:
        x = module(x)
        heights += [x.shape[2]] if x.dim() == 4 else []
    assert list(dict.fromkeys(heights)) == [32, 16, 8, 4, 1]
    assert x.shape == (2, 7)

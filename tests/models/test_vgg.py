from __future__ import annotations

from itertools import pairwise

import torch

from lossgrid.models import vgg9
from tests.models.names import layer, norm

PLANES = [3, 64, 64, 128, 128, 256, 256, 256]
CONVOLUTIONS = [0, 3, 7, 10, 14, 17, 20]
"""Where they stand in the reference code's list of layers, poolings and ReLUs counted."""


def test_parameter_count() -> None:
    """Convolutions with biases, BatchNorms, the linear layer over 4 x 4 pixels, the last one."""
    expected = sum(9 * a * b + 3 * b for a, b in pairwise(PLANES))
    expected += 16 * 256 * 256 + 3 * 256 + 256 * 10 + 10
    assert sum(weight.numel() for weight in vgg9().parameters()) == expected == 2_789_706


def test_names_of_the_reference_code() -> None:
    """Those of github.com/tomgoldstein/loss-landscape, whose checkpoints load as they are."""
    expected = layer("fc.0") | norm("fc.1") | layer("classifier")
    for number in CONVOLUTIONS:
        expected |= layer(f"features.{number}") | norm(f"features.{number + 1}")
    names = {n for n in vgg9().state_dict() if not n.endswith("num_batches_tracked")}
    assert names == expected


def test_pools_after_the_second_fourth_and_seventh_convolution() -> None:
    model = vgg9(num_classes=7).eval()
    x, heights = torch.zeros(2, 3, 32, 32), []
    for module in model.features:
        x = module(x)
        heights.append(x.shape[2])
    assert [i for i in range(1, len(heights)) if heights[i] < heights[i - 1]] == [6, 13, 23]
    assert x.shape == (2, 256, 4, 4)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)

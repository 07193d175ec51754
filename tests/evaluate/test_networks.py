"""Networks made for evaluation, and how they read the data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lossgrid.data import Split
from lossgrid.data.normalization import ImageNormalization
from lossgrid.evaluate.networks import FusedNetwork, built
from lossgrid.evaluate.plan import Plan
from lossgrid.job import DirectionsSpec
from lossgrid.models import digits_cnn
from lossgrid.space.layout import Layout
from tests.evaluate.test_evaluator import PLAN, plane_of

IMAGES = torch.arange(6 * 2 * 3 * 4, dtype=torch.uint8).view(6, 2, 3, 4)


def network(split: Split) -> FusedNetwork:
    model = digits_cnn().eval()
    first = Split(torch.zeros(4, 1, 8, 8), torch.zeros(4))
    plan = Plan(**{**vars(PLAN), "network": "fused", "batch_size": 4})
    recorded = FusedNetwork(lambda: model, plane_of(model), plan, [first]).recorded
    return FusedNetwork(lambda: model, plane_of(model), plan, [split], recorded=recorded)


@pytest.mark.parametrize(
    "split",
    [
        Split(IMAGES, torch.zeros(6), ImageNormalization((0.5, 0.1), (0.2, 0.3))),
        Split({"a": IMAGES.double(), "b": torch.zeros(6, 2)}, torch.zeros(6)),
    ],
)
def test_images_are_ordered_batch_by_batch(split: Split) -> None:
    (read,) = network(split).splits
    pairs = zip(tree_leaves(read.inputs), tree_leaves(split.inputs), strict=True)
    assert all(ours.data_ptr() == given.data_ptr() for ours, given in pairs)
    found, _ = read.batch(1, 4, torch.float32)
    wanted, _ = split.batch(1, 4, torch.float32)
    for ours, plain in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=0)
        assert ours.dim() != 4 or is_channels_last(ours)


def is_channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last)


def test_what_is_no_image_is_read_without_a_copy() -> None:
    split = Split(torch.zeros(6, 5), torch.zeros(6))
    (read,) = network(split).splits
    inputs, _ = read.batch(2, 4, torch.float32)
    assert inputs.data_ptr() == split.inputs[2:].data_ptr()


class Scaled(nn.Module):
    """Two modules that share a buffer and a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
        self.two.weight = self.one.weight
        self.one.register_buffer("scale", torch.ones(2))
        self.two.register_buffer("scale", self.one.scale)
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) * self.one.scale + self.two(x) * self.two.scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_tied_stays_tied_and_moves_as_one(dtype: torch.dtype) -> None:
    model = built(Scaled, torch.device("cpu"), dtype)
    assert model.two.scale is model.one.scale
    assert model.two.weight is model.one.weight
    assert model.one.scale.dtype == dtype
    assert model.count.dtype == torch.int64
    assert not any(parameter.requires_grad for parameter in model.parameters())
    layout = Layout.of(Scaled(), DirectionsSpec(include="state", ignore=[]))
    flat = layout.flatten(dict(model.named_parameters()), dtype)
    layout.bind(model, flat)
    layout.views(flat)["one.scale"].fill_(2.0)
    assert (model.two.scale == 2).all()

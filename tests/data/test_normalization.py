from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.data import ImageNormalization
from lossgrid.errors import UserError


@given(
    mean=st.lists(st.floats(0, 1), min_size=2, max_size=2),
    std=st.lists(st.floats(0.1, 1), min_size=2, max_size=2),
    scale=st.sampled_from([16.0, 255.0]),
    order=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_normalizes_each_channel(
    mean: list[float], std: list[float], scale: float, order: torch.memory_format
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 5), dtype=np.uint8)
    normalize = ImageNormalization(tuple(mean), tuple(std), scale)
    out = normalize(torch.from_numpy(images).contiguous(memory_format=order), torch.float64)
    assert out.dtype == torch.float64
    assert out.is_contiguous(memory_format=order)
    for channel in range(2):
        expected = (images[:, channel].astype(float) / scale - mean[channel]) / std[channel]
        np.testing.assert_allclose(out[:, channel].numpy(), expected, rtol=1e-14, atol=1e-14)


def test_computes_in_the_dtype_asked_for() -> None:
    normalize = ImageNormalization((0.5,), (0.25,))
    assert normalize(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.float32).dtype == (
        torch.float32
    )


@pytest.mark.parametrize(
    ("mean", "std", "scale", "words"),
    [
        ((0.5,), (0.5, 0.5), 255.0, "mean has 1 and std has 2"),
        ((0.5,), (0.0,), 255.0, "positive"),
        ((0.5,), (float("nan"),), 255.0, "positive"),
        ((0.5,), (0.5,), 0.0, "positive"),
    ],
)
def test_refuses(mean: tuple[float, ...], std: tuple[float, ...], scale: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ImageNormalization(mean, std, scale)


def test_constants_come_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are first used in inference mode."""
    normalization = ImageNormalization((0.125, 0.25), (0.5, 0.75))
    images = torch.full((1, 2, 1, 1), 255, dtype=torch.uint8)
    with torch.inference_mode():
        first = normalization(images, torch.float32)
    monkeypatch.setattr(torch, "tensor", None)
    assert normalization(images, torch.float32).tolist() == first.tolist()

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lossgrid.space.normalization import normalize

SHAPES = {"conv": (4, 3, 2, 2), "linear": (5, 6), "bias": (5,)}


def drawn(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


@given(seed=st.integers(0, 1000))
def test_every_filter_gets_the_norm_of_its_weights(seed: int) -> None:
    theta, d = drawn(seed), drawn(seed + 5000)
    found = normalize(d, theta, "filter")
    for name in ("conv", "linear"):
        for i in range(SHAPES[name][0]):
            w, raw = theta[name][i].numpy(), d[name][i].numpy()
            wanted = raw / np.linalg.norm(raw) * np.linalg.norm(w)
            np.testing.assert_allclose(found[name][i].numpy(), wanted, rtol=1e-12)
    assert found["bias"].norm().item() == pytest.approx(theta["bias"].norm().item())


def test_layer_and_model() -> None:
    theta, d = drawn(1), drawn(2)
    by_layer = normalize(d, theta, "layer")
    for name in SHAPES:
        assert by_layer[name].norm().item() == pytest.approx(theta[name].norm().item())
    whole = normalize(d, theta, "model")

    def norm(tensors: dict[str, Tensor]) -> float:
        return float(np.sqrt(sum((t.numpy() ** 2).sum() for t in tensors.values())))

    assert norm(whole) == pytest.approx(norm(theta))
    ratios = {name: (whole[name] / d[name]).flatten()[0].item() for name in SHAPES}
    assert len({round(ratio, 12) for ratio in ratios.values()}) == 1


def test_none_changes_nothing() -> None:
    d = drawn(3)
    assert all(torch.equal(normalize(d, drawn(4), "none")[name], d[name]) for name in d)


def test_a_filter_of_zeros_does_not_move_and_a_zero_direction_stays_zero() -> None:
    theta, d = drawn(5), drawn(6)
    theta["conv"][1] = 0
    d["linear"][2] = 0
    found = normalize(d, theta, "filter")
    assert not found["conv"][1].any()
    assert not found["linear"][2].any()
    assert found["conv"][0].any()

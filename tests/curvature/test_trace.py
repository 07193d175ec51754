from __future__ import annotations

from itertools import product as signs_of

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.curvature.trace import trace
from tests.curvature.test_extremes import symmetric


@given(seed=st.integers(0, 1000))
def test_the_mean_over_all_sign_vectors_is_the_trace(seed: int) -> None:
    matrix = symmetric(6, seed)
    every = [torch.tensor(signs).double() for signs in signs_of([1, -1], repeat=6)]
    found, _ = trace(lambda v: matrix @ v, every)
    assert found == pytest.approx(float(matrix.trace()), abs=1e-9)


def test_the_error_is_as_claimed() -> None:
    matrix = symmetric(40, 0)
    generator = np.random.default_rng(0)
    apart = []
    for _ in range(400):
        probes = [torch.from_numpy(generator.choice([-1.0, 1.0], 40)) for _ in range(20)]
        found, error = trace(lambda v: matrix @ v, probes)
        apart.append((found - float(matrix.trace())) / error)
    assert 0.9 < np.std(apart) < 1.2
    assert abs(np.mean(apart)) < 0.2


def test_a_diagonal_needs_one_probe_and_has_no_error() -> None:
    probes = [torch.tensor([1.0, -1.0]).double(), torch.tensor([1.0, 1.0]).double()]
    assert trace(lambda v: torch.tensor([2.0, 3.0]) * v, probes) == (5.0, 0.0)

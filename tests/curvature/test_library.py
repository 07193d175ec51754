"""The same Hessian by curvlinops, with eigenvalues by SciPy: neither shares code with ours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from curvlinops import HessianLinearOperator
from scipy.sparse.linalg import eigsh
from torch import nn

from lossgrid.curvature.derivatives import Derivatives
from lossgrid.curvature.extremes import extremes
from lossgrid.curvature.trace import trace
from tests.curvature.small import derivatives, exact_hessian, flat_weights, samples, trained

PLACE = (0.1, -0.05)

UNUSED = 2
"""The first of the parameters, which curvlinops can't take as no output depends on them."""


@pytest.fixture(scope="module")
def theirs() -> HessianLinearOperator:
    """At PLACE, by other batches than ours."""
    network, split = trained().double(), samples()
    nn.utils.vector_to_parameters(flat_weights(*PLACE), network.parameters())
    used = [parameter for name, parameter in network.named_parameters() if name != "unused"]
    batches = list(zip(split.inputs.split(5), split.targets.split(5), strict=True))
    return HessianLinearOperator(network, nn.CrossEntropyLoss(), used, batches)


@pytest.fixture(scope="module")
def ours() -> Derivatives:
    found = derivatives()
    found.move(PLACE)
    return found


def test_products(ours: Derivatives, theirs: HessianLinearOperator) -> None:
    for number in range(3):
        vector = ours.drawn(0, number, "test").double()
        product = ours.product("train", vector)
        assert not product[:UNUSED].any()
        torch.testing.assert_close(
            product[UNUSED:], theirs @ vector[UNUSED:], rtol=1e-9, atol=1e-12
        )


def test_extreme_eigenvalues(ours: Derivatives, theirs: HessianLinearOperator) -> None:
    start = ours.drawn(0, 0, "lanczos")
    found = extremes(lambda v: ours.product("train", v), start, 1e-6, ours.size)
    by_scipy = eigsh(theirs.to_scipy(), k=2, which="BE", return_eigenvectors=False)
    exact = torch.linalg.eigvalsh(exact_hessian(*PLACE)).numpy()
    assert ours.size < 2000
    assert exact[0] < -1e-4  # not convex there, or the smallest would be hard to miss
    assert found.iterations < ours.size
    assert found.ratio == pytest.approx(float(abs(exact[0] / exact[-1])), rel=1e-4)
    for values in (np.sort(by_scipy), exact[[0, -1]]):
        np.testing.assert_allclose([found.smallest, found.largest], values, rtol=1e-4)


def test_trace(ours: Derivatives, theirs: HessianLinearOperator) -> None:
    """Orthogonal probes, one a parameter, leave no error."""
    every = math.sqrt(ours.size) * torch.eye(ours.size, dtype=torch.float64)
    found, _ = trace(lambda v: ours.product("train", v), every)
    columns = theirs @ torch.eye(ours.size - UNUSED, dtype=torch.float64)
    for other in (columns, exact_hessian(*PLACE)):
        assert found == pytest.approx(float(other.trace()), rel=1e-9)

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.polynomial import polyval

from lossgrid.curvature.spectrum import quadrature
from lossgrid.view.figures.spectrum import density
from tests.curvature.small import derivatives, exact_hessian
from tests.curvature.test_extremes import start, symmetric

PLACE = (0.1, -0.05)


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(5, 30),
    factors=st.lists(st.floats(-1, 1), min_size=1, max_size=8),
)
def test_polynomials_are_integrated_exactly(seed: int, size: int, factors: list[float]) -> None:
    """Of degree 2 n - 1 and less: v f(H) v, by the eigenvectors of H."""
    matrix = symmetric(size, seed) / size**0.5
    probe = start(size)
    nodes, weights = quadrature(lambda v: matrix @ v, probe, 4)
    values, vectors = np.linalg.eigh(matrix.numpy())
    shares = (vectors.T @ (probe / probe.norm()).numpy()) ** 2
    true = float(shares @ polyval(values, factors))
    scale = float(shares @ polyval(np.abs(values), np.abs(factors)))
    assert float(weights @ polyval(nodes, factors)) == pytest.approx(true, abs=1e-9 * scale + 1e-12)


def test_moments_are_those_of_the_exact_hessian() -> None:
    """Many probes: the mean and the mean square of all eigenvalues, within four standard errors."""
    ours = derivatives()
    ours.move(PLACE)
    exact = torch.linalg.eigvalsh(exact_hessian(*PLACE)).numpy()
    found = np.array(
        [
            quadrature(lambda v: ours.product("train", v), ours.drawn(0, probe, "spectrum"), 2)
            for probe in range(30)
        ]
    )
    for power in (1, 2):
        moments = (found[:, 1] * found[:, 0] ** power).sum(axis=1)
        error = moments.std(ddof=1) / math.sqrt(len(moments))
        assert error < 0.5 * float(np.mean(exact**2)) ** (power / 2)
        assert abs(moments.mean() - np.mean(exact**power)) < 4 * error


def test_the_density_is_that_of_the_exact_hessian() -> None:
    """Both spread to the same peaks; the share of eigenvalues in an interval, to a few percent."""
    hessian = exact_hessian(*PLACE)
    exact = torch.linalg.eigvalsh(hessian).numpy()
    drawn = derivatives().drawn
    probes = [drawn(0, probe, "spectrum") for probe in range(40)]
    nodes = np.array([quadrature(lambda v: hessian @ v, probe, 40) for probe in probes])
    width = 0.02 * float(np.ptp(exact))
    at = np.linspace(exact[0] - 6 * width, exact[-1] + 6 * width, 2001)
    found = density(nodes, at, width)
    true = density(np.stack([exact, np.full(exact.size, 1 / exact.size)])[None], at, width)
    step = at[1] - at[0]
    assert found.sum() * step == pytest.approx(1, abs=1e-6)
    assert np.abs(np.cumsum(found - true)).max() * step < 0.06
    assert np.abs(np.cumsum(true - true.mean())).max() * step > 0.2  # or anything would pass


def test_a_spectrum_of_few_values() -> None:
    diagonal = torch.tensor([3.0, 3.0, -1.0, -1.0, -1.0]).double()
    probe = start(5)
    nodes, weights = quadrature(lambda v: diagonal * v, probe, 4)
    heavy = weights > 1e-12
    assert all(min(abs(node - 3), abs(node + 1)) < 1e-9 for node in nodes[heavy])
    share = float(probe[:2].square().sum() / probe.square().sum())
    assert weights[nodes > 2].sum() == pytest.approx(share)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_product_that_is_not_finite(bad: float) -> None:
    assert np.isnan(quadrature(lambda v: v * bad, start(5), 3)).all()

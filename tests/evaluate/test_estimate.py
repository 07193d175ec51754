from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lossgrid.evaluate.estimate import Known, combined, estimate, exact, rungs

POPULATION = 1000
STEPS = rungs(POPULATION, 50)
Floats = NDArray[np.float64]


@given(population=st.integers(1, 10_000), batch=st.integers(1, 500))
def test_rungs_are_whole_batches_up_to_half_and_then_all(population: int, batch: int) -> None:
    found = rungs(population, batch)
    assert found[-1] == population
    assert all(count % batch == 0 and count <= population / 2 for count in found[:-1])
    assert all(one < other for one, other in pairwise(found))


def known(values: Floats, count: int, control: Known | None = None) -> Known:
    if count == values.shape[1]:
        found = exact(values)
    else:
        found = estimate(values[:, :count], control, STEPS)
    return Known(found.mean, values[:, :count], found.influence)


def test_without_a_control_it_is_the_textbook_estimate() -> None:
    values = np.random.default_rng(0).exponential(size=(2, 200))
    found = estimate(values, None, STEPS)
    correction = 1 - 200 / POPULATION
    assert found.mean == pytest.approx(values.mean(axis=1))
    worst = np.abs(values - values.mean(axis=1, keepdims=True)).max(axis=1) ** 2 / 200**2
    error = np.sqrt((values.var(axis=1, ddof=1) / 200 + worst) * correction)
    assert found.error == pytest.approx(error, rel=0.02)  # within parts of the samples


def test_a_control_that_explains_everything_leaves_no_error() -> None:
    parent = np.random.default_rng(0).normal(size=(1, POPULATION))
    control = known(parent, POPULATION)
    found = estimate(1.5 * parent[:, :100] + 2, control, STEPS)
    assert found.mean == pytest.approx(1.5 * parent.mean(axis=1) + 2)
    assert found.error == pytest.approx([0], abs=1e-12)


def test_a_useless_control_does_no_harm() -> None:
    generator = np.random.default_rng(1)
    values, other = generator.normal(size=(2, 1, POPULATION))
    found = estimate(values[:, :250], known(other, POPULATION), STEPS)
    alone = estimate(values[:, :250], None, STEPS)
    assert found.error == pytest.approx(alone.error, rel=0.05)


def test_a_control_that_varies_by_rounding_alone_is_taken_for_perfect() -> None:
    """As where all of the first samples are right at all parents, but not all samples are."""
    right = np.ones((1, POPULATION))
    right[0, 150:155] = 0.0
    parents = [known(right, POPULATION) for _ in range(3)]
    control = combined(parents, np.array([0.1, 0.3, 0.6]))
    assert control is not None
    assert np.ptp(control.values[:, :100]) < 1e-12
    noise = np.random.default_rng(0).choice([0, 1e-16], size=(1, POPULATION))
    shaky = Known(control.mean, control.values + noise, control.influence)
    for one in (control, shaky):
        found = estimate(right[:, :100], one, STEPS)
        assert found.mean == pytest.approx([0.995])
        assert found.error == pytest.approx([0], abs=1e-9)


def surfaces(generator: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
    """Samples' values at four points on the way from a rough one to a smooth sum of neighbours."""
    a, b = generator.lognormal(size=(2, 1, POPULATION))
    c = 0.6 * a + 0.5 * b + 0.3 * generator.normal(size=a.shape)
    d = 0.5 * c + 0.5 * a + 0.1 * generator.normal(size=a.shape)
    return a, b, c, d


@pytest.mark.parametrize("seed", [0, 1])
def test_the_errors_are_as_large_as_they_are_said_to_be(seed: int) -> None:
    """Over random orders of the samples, through three lattices with errors of their own."""
    generator = np.random.default_rng(seed)
    points = surfaces(generator)
    truth = points[3].mean()
    scores = []
    for _ in range(300):
        order = generator.permutation(POPULATION)
        a, b, c, d = (values[:, order] for values in points)
        known_a, known_b = known(a, 500), known(b, 400)
        known_c = known(c, 250, combined([known_a, known_b], np.array([0.6, 0.5])))
        control = combined([known_c, known_a], np.array([0.5, 0.5]))
        found = estimate(d[:, :100], control, STEPS)
        scores.append((found.mean[0] - truth) / found.error[0])
    assert abs(np.mean(scores)) < 0.25  # no bias to speak of
    assert 0.8 < np.std(scores) < 1.1
    assert np.mean(np.abs(scores) < 2) > 0.92


def test_parents_errors_are_not_forgotten() -> None:
    """A perfect copy of a parent is no better known than the parent."""
    values = np.random.default_rng(2).lognormal(size=(1, POPULATION))
    parent = estimate(values[:, :400], None, STEPS)
    control = Known(parent.mean, values[:, :400], parent.influence)
    child = estimate(values[:, :100], combined([control], np.ones(1)), STEPS)
    assert child.mean == pytest.approx(parent.mean)
    assert child.error == pytest.approx(parent.error, rel=0.2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parents_that_are_not_finite_make_no_control(bad: float) -> None:
    values = np.random.default_rng(0).normal(size=(2, POPULATION))
    good = known(values, POPULATION)
    values = values.copy()
    values[1, 7] = bad
    assert combined([good, known(values, POPULATION)], np.array([0.5, 0.5])) is None

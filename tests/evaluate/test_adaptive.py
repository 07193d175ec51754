from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from lossgrid.evaluate.adaptive import sampled
from lossgrid.evaluate.estimate import OFFSET, Known, exact, rungs

POPULATION = 2000
STEPS = rungs(POPULATION, 50)
Floats = NDArray[np.float64]


class Samples:
    """Values to be read, and how far they have been."""

    def __init__(self, values: Floats) -> None:
        self.values = values
        self.read: list[tuple[int, int]] = []

    def __call__(self, begin: int, end: int) -> Floats:
        self.read.append((begin, end))
        return self.values[:, begin:end]


def gaussian(spread: float, mean: float = 1.0) -> Floats:
    return mean + spread * np.random.default_rng(0).normal(size=(1, POPULATION))


def of_all(values: Floats) -> Known:
    found = exact(values)
    return Known(found.mean, values, found.influence)


def test_few_samples_do_where_they_are_alike() -> None:
    samples = Samples(gaussian(0.05))
    found, values = sampled(samples, [], STEPS, 0, 0.01)
    assert values.shape == (1, STEPS[0])
    assert found.error[0] <= 0.01 * (found.mean[0] + OFFSET)


def test_more_are_read_until_the_error_is_small_enough() -> None:
    samples = Samples(gaussian(0.2))
    found, values = sampled(samples, [], STEPS, 0, 0.01)
    assert 300 < values.shape[1] < 700
    assert values.shape[1] in STEPS
    assert found.error[0] <= 0.01 * (found.mean[0] + OFFSET)
    ends = [0, *(end for _, end in samples.read)]
    assert samples.read == list(pairwise(ends))  # none twice, none left out


def test_all_are_read_where_no_fewer_do() -> None:
    samples = Samples(gaussian(2.0))
    found, values = sampled(samples, [], STEPS, 0, 0.01)
    assert values.shape == (1, POPULATION)
    assert found.mean == pytest.approx(samples.values.mean(axis=1))
    assert found.error == 0


def test_a_control_saves_samples() -> None:
    parent = gaussian(2.0)
    child = 0.9 * parent + 0.05 * np.random.default_rng(1).normal(size=parent.shape)
    found, values = sampled(Samples(child), [of_all(parent)], STEPS, 0, 0.01)
    assert values.shape == (1, STEPS[0])
    assert found.mean == pytest.approx(child.mean(axis=1), rel=0.03)


def first(values: Floats, count: int) -> Known:
    """Known on its first samples alone, with a mean that has no error."""
    return Known(values.mean(axis=1), values[:, :count], np.zeros((1, 0)))


def test_a_control_of_too_few_samples_is_given_up_for_the_next() -> None:
    parent, other = gaussian(2.0), gaussian(2.0)[:, ::-1]
    child = parent + 0.2 * np.random.default_rng(1).normal(size=parent.shape)
    both = [first(parent, STEPS[0]), of_all(0.9 * parent)]
    found, values = sampled(Samples(child), both, STEPS, 0, 0.01)
    beyond, _ = sampled(Samples(child), both[1:], STEPS, 0, 0.01)
    assert STEPS[0] < values.shape[1] < POPULATION / 2
    assert found.mean == beyond.mean
    useless = [first(parent, STEPS[0]), of_all(other)]
    assert sampled(Samples(child), useless, STEPS, 0, 0.01)[0].error == 0


def test_a_control_is_not_looked_at_before_it_is_needed() -> None:
    parent = gaussian(2.0)

    def controls() -> Iterator[Known]:
        yield of_all(parent)
        raise AssertionError("looked at")

    sampled(Samples(0.9 * parent), controls(), STEPS, 0, 0.01)


def test_without_controls_that_reach_far_enough_it_is_the_plain_mean() -> None:
    samples = Samples(np.random.default_rng(1).normal(1, 0.2, size=(1, POPULATION)))
    found, values = sampled(samples, [first(gaussian(2.0), STEPS[0])], STEPS, 0, 0.01)
    alone, _ = sampled(samples, [], STEPS, 0, 0.01)
    assert values.shape[1] > STEPS[0]
    assert found.mean == alone.mean


def test_an_inexact_control_that_can_not_do_makes_a_point_exact() -> None:
    parent = gaussian(1.0)
    vague = Known(parent.mean(axis=1), parent[:, :200], 0.01 * parent[:, :200])
    found, values = sampled(Samples(parent), [vague], STEPS, 0, 0.01)
    assert values.shape == (1, POPULATION)
    assert found.error == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_makes_all_samples_count(bad: float) -> None:
    values = gaussian(0.01)
    values[0, 10] = bad
    found, used = sampled(Samples(values), [], STEPS, 0, 0.01)
    assert used.shape == (1, POPULATION)
    assert np.array_equal(found.mean, values.mean(axis=1), equal_nan=True)
    assert found.error == 0


def test_the_metric_that_decides_is_the_one_named() -> None:
    both = np.concatenate([gaussian(2.0), gaussian(0.05)])
    _, by_first = sampled(Samples(both), [], STEPS, 0, 0.01)
    _, by_second = sampled(Samples(both), [], STEPS, 1, 0.01)
    assert by_first.shape == (2, POPULATION)
    assert by_second.shape == (2, STEPS[0])


def test_rare_samples_that_carry_the_loss_are_known_from_an_exact_parent() -> None:
    """The first samples of all points alike miss them; the parent has them."""
    generator = np.random.default_rng(5)
    rare = np.where(np.arange(POPULATION) % 200 == 199, 2.0, 1e-4)[None]
    generator.shuffle(rare[0])
    rare[0, :100] = 1e-4
    child = 0.9 * rare + 1e-6 * generator.normal(size=rare.shape)
    found, values = sampled(Samples(child), [of_all(rare)], STEPS, 0, 0.05)
    assert values.shape[1] < POPULATION
    assert found.mean == pytest.approx(child.mean(axis=1), rel=0.2)
    alone, _ = sampled(Samples(child), [], STEPS, 0, 0.05)
    assert alone.mean[0] < 0.1 * child.mean()  # so the coarsest lattice must use all samples


def test_errors_hold_where_reading_stops_early() -> None:
    """Over random orders, with residuals of heavy tails and the number of samples left open."""
    generator = np.random.default_rng(0)
    parent = generator.lognormal(sigma=1.0, size=(1, POPULATION))
    child = 0.8 * parent + 0.1 * generator.standard_t(5, size=parent.shape)
    scores = []
    for _ in range(300):
        order = generator.permutation(POPULATION)
        found, _ = sampled(Samples(child[:, order]), [of_all(parent[:, order])], STEPS, 0, 0.005)
        scores.append(abs(found.mean[0] - child.mean()) / max(found.error[0], 1e-12))
    assert np.mean(np.array(scores) < 2) > 0.93
    assert max(scores) < 5

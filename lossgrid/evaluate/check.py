"""Whether a plan's fast ways give the values of the plain one, seen on a batch at a few points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import OutOfMemoryError, summary
from lossgrid.evaluate.evaluator import GridEvaluator
from lossgrid.evaluate.plan import Plan
from lossgrid.space import Grid, Place

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
"""Difference of a sample's value that rounding can make, relative to the largest of its batch."""

FLIPS = 0.02
"""Share of a batch whose values may jump all the same, as accuracy does between two classes."""

Values = list[NDArray[np.float64]]
"""Of the samples of each split's first batch: shapes (places, metrics, samples)."""


Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Found and true values, one a sample."""


@dataclass(frozen=True)
class Checked:
    """A plan that works, and what is known of it: plain data, for all ranks.

    Attributes:
        plan: the one that was asked for, or a plainer form of it.
        recorded: what evaluators need to be made of this plan, and of the same in float32.
        error: largest difference of a batch's mean from that of the plain network in float32 (or
            float64), relative to the mean size of its values.
        objections: why faster forms were refused, fastest first.
        shrunk: whether the plan asked for was made smaller for want of memory.
    """

    plan: Plan
    recorded: Mapping[Plan, bytes]
    error: float
    objections: tuple[str, ...]
    shrunk: bool = False


class _RefusedError(Exception):
    """Why a form of a plan is refused."""


def check(plan: Plan, grid: Grid, evaluator_of: Callable[[Plan], GridEvaluator]) -> Checked:
    """Find the fastest form of a plan whose first batches have the plain network's values.

    They are compared sample by sample at theta, at the grid's corners, and half a direction away
    from theta. Rounding to tf32 or bfloat16 is measured, but no fault.

    Args:
        plan: what is hoped for.
        grid: coordinates.
        evaluator_of: makes the evaluator of a plan.

    Raises:
        OutOfMemoryError: for the fastest form, so that nothing is known of it.
    """
    *fast, plainest = _forms(plan)
    truth = _truth(evaluator_of(plainest.exact), _places(grid))
    objections: list[str] = []
    for form in fast:
        try:
            recorded, pairs = _tried(form, grid, evaluator_of, truth)
            return Checked(form, recorded, _error(pairs), tuple(objections))
        except OutOfMemoryError:  # a smaller batch is better than a plainer form
            raise
        except Exception as error:
            said = str(error) if isinstance(error, _RefusedError) else summary(error)
            objections.append(f"{form.form}: {said.partition('. ')[0]}")
    plain = evaluator_of(plainest)
    recorded = dict.fromkeys((plainest, plainest.exact), plain.recorded())
    apart = 0.0
    if plainest.is_low:
        with _unless_short():  # the run itself will tell where it fails
            apart = _error(_pairs(plain, truth))
    return Checked(plainest, recorded, apart, tuple(objections))


def _tried(
    form: Plan,
    grid: Grid,
    evaluator_of: Callable[[Plan], GridEvaluator],
    truth: Mapping[Place, Values],
) -> tuple[dict[Plan, bytes], list[Pair]]:
    """What has been recorded, and how the values of a form compare.

    Raises:
        Exception: of any kind, if it does not give the right ones.
    """
    evaluator = evaluator_of(form.exact)
    pairs = _pairs(evaluator, truth)
    _compare(pairs, TOLERANCE[evaluator.plan.precision])
    _check_order(evaluator, grid)
    recorded = {form.exact: evaluator.recorded()}
    if form.is_low:
        del evaluator  # its memory is needed
        evaluator = evaluator_of(form)
        recorded[form] = evaluator.recorded()
        pairs = _pairs(evaluator, truth)
    return recorded, pairs


def _forms(plan: Plan) -> list[Plan]:
    """A plan and its plainer forms, the plain one last."""
    alone = replace(plan, points_per_pass=1)
    return list(dict.fromkeys([plan, alone, replace(alone, network="plain")]))


def _places(grid: Grid) -> list[Place]:
    rows, columns = grid.shape
    ends = [row * columns + column for column in (0, columns - 1) for row in (0, rows - 1)]
    corners = [place for end in ends for place in (grid.places(end)[0], grid.places(end)[-1])]
    return list(dict.fromkeys([(0.0, 0.0), (0.5, 0.0 if grid.beta is None else 0.5), *corners]))


def _truth(plain: GridEvaluator, places: list[Place]) -> dict[Place, Values]:
    """The plain network's values, where it has any: a user's code may fail far from theta."""
    known = {}
    for place in places:
        with _unless_short():
            known[place] = plain.first_batch([place])
    return known


@contextmanager
def _unless_short() -> Iterator[None]:
    """In which errors don't count, except for a lack of memory."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception:
        pass


def _compare(pairs: list[Pair], tolerance: float) -> None:
    """Refuse values that differ by more than rounding."""
    for found, true in pairs:
        with np.errstate(invalid="ignore"):
            largest = np.abs(true[np.isfinite(true)]).max(initial=0.0)
            close = np.abs(found - true) <= tolerance * largest
        same = close | (found == true) | (np.isnan(found) & np.isnan(true))
        if (~same).sum() > int(FLIPS * true.size):
            raise _RefusedError(
                f"{(~same).sum()} of {true.size} samples differ from the plain network's"
            )


def _check_order(evaluator: GridEvaluator, grid: Grid) -> None:
    """A point's bits must depend neither on its place in a pass nor on its neighbours."""
    width = evaluator.points_per_pass
    if width == 1:
        return
    count = grid.shape[0] * grid.shape[1]
    points = np.linspace(0, count - 1, width).astype(np.int64).tolist()
    places = [grid.places(point)[i % grid.draws] for i, point in enumerate(points)]
    forward = evaluator.first_batch(places)
    for turn in (1, width // 2, width - 1):
        turned = evaluator.first_batch(places[turn:] + places[:turn])
        for one, other in zip(forward, turned, strict=True):
            if not np.array_equal(one, np.roll(other, turn, axis=0), equal_nan=True):
                raise _RefusedError("a point's bits depend on its place in the pass")


def _error(pairs: list[Pair]) -> float:
    """See `Checked`; places where either has values that are not finite don't count."""
    found = 0.0
    for ours, true in pairs:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            error = abs(ours.mean() - true.mean()) / np.abs(true).mean()
        found = max(found, float(error)) if np.isfinite(error) else found
    return found


def _pairs(evaluator: GridEvaluator, truth: Mapping[Place, Values]) -> list[Pair]:
    """For each place, split and metric.

    Raises:
        Exception: of any kind, from the user's code in this form or precision.
    """
    pairs: list[Pair] = []
    for place, known in truth.items():
        for found, true in zip(evaluator.first_batch([place]), known, strict=True):
            pairs += zip(found[0], true[0], strict=True)
    return pairs

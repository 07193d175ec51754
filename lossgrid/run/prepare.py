"""Everything that a rank needs before it can compute."""

from __future__ import annotations

import copy
import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lossgrid.curvature import CurvatureEvaluator, vectors_bytes
from lossgrid.data import Split
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.worker import Evaluator
from lossgrid.engine.world import World
from lossgrid.errors import DroppedError, OutOfMemoryError, UserError, summary
from lossgrid.evaluate import (
    AdaptiveEvaluator,
    Checked,
    GridEvaluator,
    Plan,
    available,
    check,
    choose_plan,
    dtype_of,
    fitted,
    needed,
    smaller,
)
from lossgrid.evaluate.device import keep_memory, lanes, own_device
from lossgrid.evaluate.tuning import Tuned, candidates, shortened, tune
from lossgrid.evaluate.widths import widths
from lossgrid.job import EvaluationSpec, Job
from lossgrid.problem import Problem, State, load_checkpoint, load_problem, shuffled
from lossgrid.run import precision
from lossgrid.run.fingerprint import fingerprint, place_parts, plan_parts, weights_part
from lossgrid.shortage import fitting
from lossgrid.space import (
    Grid,
    Place,
    Plane,
    Principal,
    build_plane,
    negative_variances,
)
from lossgrid.store.samples import SampleFile, samples_path

T = TypeVar("T")

KEPT = 0.5
"""Of free memory that may be taken to compute curvature faster."""


@dataclass(frozen=True)
class Common:
    """What takes time to load and memory to hold, and is only read: one rank can do it for others.

    Attributes:
        weights: of the model, by name.
        splits: as they are evaluated.
        plane: theta and directions.
        made_of: the fingerprint of all this.
    """

    weights: State
    splits: dict[str, Split]
    plane: Plane
    made_of: dict[str, str]


@dataclass(frozen=True)
class Loaded:
    """What one rank has of a job, and what it computes on.

    Attributes:
        problem: model, data, loss.
        plane: theta and directions.
        grid: coordinates.
        device: of this rank.
        lanes: batches that it runs at a time.
        sharers: ranks that share its memory, itself among them.
        made_of: the fingerprint of model, data and plane.
    """

    problem: Problem
    plane: Plane
    grid: Grid
    device: torch.device
    lanes: int
    sharers: int
    made_of: dict[str, str]

    @property
    def fingerprint(self) -> dict[str, str]:
        """What all this was made of."""
        return self.made_of | place_parts(self.device)

    def common(self) -> Common:
        """What of it another rank can have as well."""
        weights = self.problem.build_model().state_dict()
        return Common(weights, self.problem.splits, self.plane, self.made_of)

    def having(self, common: Common) -> Loaded:
        """The same, with that of it from elsewhere."""
        problem = replace(self.problem, splits=common.splits)
        return replace(self, problem=problem, plane=common.plane)

    def warning(self) -> str | None:
        """A sentence on points of the grid that have no loss, if it is known that there are any."""
        return negative_variances(self.plane, self.grid, self.problem.build_model())

    def evaluator(self, plan: Plan, recorded: bytes | None = None) -> GridEvaluator:
        """What evaluates points by a plan; `recorded` is what another evaluator of it recorded."""
        return GridEvaluator(
            self.problem, self.plane, self.grid, plan, self.device, self.lanes, recorded
        )


@dataclass(frozen=True)
class Prepared:
    """What one rank has of a job, how points are evaluated, and what does that.

    Attributes:
        loaded: the job's parts.
        checked: the plan.
        whole: computes all samples of points.
        evaluator: of grid points: that, that and curvature, or some of the samples.
        bending: computes curvature, if that is asked for.
        samples: what it keeps for finer lattices, if it does; to be opened for each stage.
    """

    loaded: Loaded
    checked: Checked
    whole: GridEvaluator
    evaluator: Evaluator
    bending: CurvatureEvaluator | None
    samples: SampleFile | None

    @property
    def plan(self) -> Plan:
        """How points are evaluated."""
        return self.checked.plan

    @property
    def plane(self) -> Plane:
        """Theta and directions."""
        return self.loaded.plane

    @property
    def grid(self) -> Grid:
        """Coordinates."""
        return self.loaded.grid

    @property
    def fingerprint(self) -> dict[str, str]:
        """What the job is made of, its plan included."""
        return self.loaded.fingerprint | plan_parts(self.plan)

    def measure_theta(self) -> tuple[dict[str, float], float]:
        """Values of all columns at theta itself, and the seconds that this took.

        Raises:
            OutOfMemoryError: memory does not suffice.
            UserError: the network can't be evaluated even there.
        """
        began = time.perf_counter()
        try:
            (values,) = self.whole.at([(0.0, 0.0)])
        except OutOfMemoryError:
            raise
        except Exception as error:
            raise UserError(
                f"model, loss or metrics fail at theta itself: {summary(error)}; "
                "mend them or the data"
            ) from error
        columns = self.whole.columns_of_place
        found = dict(zip(columns, values.tolist(), strict=True))
        return found, time.perf_counter() - began

    def try_checkpoint(
        self, path: Path, stopping: StopRequest, smallest: bool
    ) -> list[float] | str | None:
        """Values of all columns with all of a checkpoint's weights: see `_tried`.

        Args:
            path: of the checkpoint, which need not lie in the plane.
            stopping: whether a signal has asked to.
            smallest: whether no smaller plan can follow.
        """
        try:
            return _tried(lambda: self._at_checkpoint(path, stopping.overdue).tolist(), smallest)
        finally:
            gc.collect()  # the evaluator, whose graphs hold themselves

    def try_probe(
        self, place: Place, probe: int, stopping: StopRequest, smallest: bool
    ) -> dict[str, NDArray[np.float64]] | str | None:
        """What a probe of the spectrum finds of each split: see `_tried`.

        Args:
            place: of the plane.
            probe: its number.
            stopping: whether a signal has asked to.
            smallest: whether no smaller plan can follow.
        """
        bending = self.bending
        assert bending is not None
        return _tried(lambda: bending.quadrature(place, probe, stopping.overdue), smallest)

    def _at_checkpoint(self, path: Path, unwanted: Callable[[], bool]) -> NDArray[np.float64]:
        loaded, plane = self.loaded, self.plane
        model = loaded.problem.build_model()
        load_checkpoint(model, path)
        corners = torch.zeros_like(plane.corners)
        plane.layout.write(plane.layout.state(model), corners[0])
        problem = replace(loaded.problem, build_model=lambda: copy.deepcopy(model))
        there = replace(loaded, problem=problem, plane=replace(plane, corners=corners))
        evaluator = there.evaluator(self.plan, self.checked.recorded[self.plan])
        values: NDArray[np.float64]
        (values,) = evaluator.at([(0.0, 0.0)], unwanted)
        return values

    def again(
        self, points: NDArray[np.int64], stopping: StopRequest, smallest: bool
    ) -> NDArray[np.float64]:
        """Values of points in float32, until a signal asks to stop: shape (at most n, columns).

        Args:
            points: flat indices.
            stopping: whether a signal has asked to.
            smallest: whether no smaller plan can follow: NaN then stands for want of memory.

        Raises:
            OutOfMemoryError: a smaller plan may do.
        """
        width = len(self.whole.columns)
        if points.size == 0 or stopping():
            return np.empty((0, width))
        exact = self.plan.exact
        try:
            evaluator = self.loaded.evaluator(exact, self.checked.recorded[exact])
            return precision.again(evaluator, points, width, stopping)
        except OutOfMemoryError:
            if not smallest:
                raise
            return np.full((points.size, width), np.nan)


def _tried(work: Callable[[], T], smallest: bool) -> T | str | None:
    """What work comes to, why nothing came of it, or None where a signal has it dropped.

    Args:
        work: may fail.
        smallest: whether no smaller plan can follow.

    Raises:
        OutOfMemoryError: one may do.
    """
    try:
        return work()
    except DroppedError:
        return None
    except OutOfMemoryError as error:
        if not smallest:
            raise
        return summary(error)
    except Exception as error:  # a user's code may fail anywhere
        return summary(error)


def prepare(job: Job, world: World, stored: Plan | None = None) -> Prepared:
    """All steps at once (`load`, `choose`, `equip`), for a rank that needs nobody else's word."""
    loaded = load(job, world)
    return equip(job, loaded, choose(job, loaded, stored, free_memory(loaded)))


def load(
    job: Job, world: World, principal: Principal | None = None, common: Common | None = None
) -> Loaded:
    """Load the job's parts; nothing is learned of what other ranks have.

    Args:
        job: what to compute.
        world: the rank's place among the others, which decides its device and cores.
        principal: the components that directions of kind pca are, found by one rank for all.
        common: what another rank has loaded.

    Raises:
        OutOfMemoryError: memory does not suffice for a part.
        UserError: a part can't be loaded or does not fit another.
    """
    share = job.runtime.share_gpus
    device = own_device(job.evaluation.device, world.local_rank, world.local_size, share)
    torch.set_num_threads(1)  # else all ranks of a node load with all of its cores, and wait
    grid = Grid.of(job)
    if common is None:
        problem, plane, made_of = _all_loaded(job, grid, principal)
    else:
        problem = load_problem(job, common.weights, common.splits)
        own = weights_part(problem.build_model())  # which a factory may have made
        plane, made_of = common.plane, common.made_of | own
    sharers = world.local_size
    if device.type == "cuda":
        sharers = math.ceil(sharers / torch.cuda.device_count())
    return Loaded(problem, plane, grid, device, lanes(device, world.cores), sharers, made_of)


def _all_loaded(
    job: Job, grid: Grid, principal: Principal | None
) -> tuple[Problem, Plane, dict[str, str]]:
    """The problem, the plane, and what they are made of."""
    problem = load_problem(job)
    if job.evaluation.tolerance is not None:
        with fitting("data in random order"):
            splits = {name: shuffled(split) for name, split in problem.splits.items()}
        problem = replace(problem, splits=splits)
    with fitting("weights and directions"):
        model = problem.build_model()
        plane = build_plane(job, model, dtype_of(job.evaluation.precision), principal)
        return problem, plane, fingerprint(job, model, problem, plane, grid)


def check_workers(job: Job, ranks: int) -> int:
    """How many workers so many ranks are.

    Raises:
        UserError: they can't be cut into groups.
    """
    workers, each = job.runtime.workers(ranks), job.runtime.ranks_per_worker
    if workers is None:
        computing = ranks if job.runtime.shared else ranks - 1
        raise UserError(
            f"{job.path}: runtime.ranks_per_worker: {each}, but the ranks that compute are "
            f"{computing}: start a multiple of {each}, or set another number"
        )
    return workers


def free_memory(loaded: Loaded) -> int:
    """Bytes that this rank may still take; ask when all ranks of its node have loaded."""
    return available(loaded.device, loaded.sharers)


def choose(job: Job, loaded: Loaded, stored: Plan | None, room: int) -> Checked:
    """Choose how points are evaluated, on one rank for all.

    Args:
        job: what to compute.
        loaded: of this rank.
        stored: the plan of the results file that is to be continued, or a measured one; what the
            job file leaves open is taken from it.
        room: `free_memory` of the rank that has least.

    Raises:
        UserError: the device can't do what is asked for, or memory is short.
    """
    evaluation = job.evaluation if stored is None else _pinned(job.evaluation, stored)
    problem, plane = loaded.problem, loaded.plane
    width = widths(problem)
    hoped = choose_plan(evaluation, problem, loaded.device, width)

    vectors = vectors_bytes(job.curvature, problem) if job.curvature else 0

    def need(plan: Plan) -> int:
        return needed(plan, problem, plane, width, loaded.lanes) + vectors

    plan = fitted(hoped, need, room, job.evaluation.batch_size != "auto")
    return _checked(job, loaded, plan, plan != hoped)


def choose_smaller(job: Job, loaded: Loaded, plan: Plan, shortage: str) -> Checked:
    """Choose again, on one rank for all, where memory has not sufficed for a plan.

    Args:
        job: what to compute.
        loaded: of this rank.
        plan: that can't be followed any more.
        shortage: what was said of it.

    Raises:
        UserError: there is no smaller one.
    """
    less = smaller(plan)
    reason = unshrinkable(job, plan)
    if less is None or reason is not None:
        raise UserError(
            f"{reason}: {shortage}; start fewer ranks a node, or see what else takes memory there, "
            "and run the same command again"
        )
    return _checked(job, loaded, less, True)


def unshrinkable(job: Job, plan: Plan) -> str | None:
    """Why no smaller plan can follow one; none if one can."""
    batches = f"in batches of {plan.batch_size}"
    if job.evaluation.batch_size != "auto":
        return f"{batches}, as evaluation.batch_size says (auto makes them smaller)"
    return f"{batches}, the smallest" if smaller(plan) is None else None


def _checked(job: Job, loaded: Loaded, plan: Plan, shrunk: bool) -> Checked:
    """Record and check the network by a plan, or by a smaller one if memory is too short."""
    try:
        found = check(plan, loaded.grid, replace(loaded, lanes=1).evaluator)
    except OutOfMemoryError as error:
        shortage = str(error)
    else:
        return replace(found, shrunk=shrunk)
    gc.collect()  # evaluators, whose graphs hold themselves
    return choose_smaller(job, loaded, plan, shortage)


def equip(job: Job, loaded: Loaded, checked: Checked) -> Prepared:
    """Make what evaluates points as has been chosen, on every rank."""
    whole = loaded.evaluator(checked.plan, checked.recorded[checked.plan])
    keep_memory(loaded.device)
    problem, grid = loaded.problem, loaded.grid
    if job.curvature is not None:
        room = int(KEPT * free_memory(loaded))
        bending = CurvatureEvaluator(
            whole, problem, loaded.plane, grid, job.curvature, loaded.device, loaded.lanes, room
        )
        adds = bending.columns != whole.columns  # or several points a pass may do
        return Prepared(loaded, checked, whole, bending if adds else whole, bending, None)
    if job.evaluation.tolerance is None:
        return Prepared(loaded, checked, whole, whole, None, None)
    sizes = [(len(problem.metrics), len(split)) for split in problem.splits.values()]
    samples = SampleFile(samples_path(job.output), grid.shape, sizes)
    some = AdaptiveEvaluator(whole, grid, problem, job.evaluation.tolerance, samples)
    return Prepared(loaded, checked, whole, some, None, samples)


def measure(job: Job, loaded: Loaded, ranks: int) -> Tuned:
    """The fastest plan of those near the rule's, as this process measures them.

    Args:
        job: what to compute.
        loaded: of this rank.
        ranks: that will share the work; short runs are not worth measuring for.

    Raises:
        UserError: see `choose`.
    """
    keep_memory(loaded.device)
    problem, grid = loaded.problem, loaded.grid
    plan = choose_plan(job.evaluation, problem, loaded.device)
    plans = candidates(job.evaluation, plan, problem)
    some = shortened(problem, loaded.lanes * 2 * max(one.batch_size for one in plans))
    samples, measured = (sum(map(len, one.splits.values())) for one in (problem, some))
    work = grid.shape[0] * grid.shape[1] / ranks * samples / measured
    return tune(plans, replace(loaded, problem=some).evaluator, grid, work)


def _pinned(spec: EvaluationSpec, plan: Plan) -> EvaluationSpec:
    """What the job leaves open is as in a plan."""
    free = [
        key for key in ("batch_size", "points_per_pass", "network") if getattr(spec, key) == "auto"
    ]
    return spec.model_copy(update={key: getattr(plan, key) for key in free})

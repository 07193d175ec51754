"""What one rank loads of a job: model, data, plane, where it computes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from lossgrid.data import Split
from lossgrid.engine.world import World
from lossgrid.evaluate import (
    GridEvaluator,
    Member,
    Plan,
    available,
    dtype_of,
)
from lossgrid.evaluate.device import lanes, own_device
from lossgrid.job import Job
from lossgrid.problem import Problem, State, load_problem, shuffled
from lossgrid.run.fingerprint import fingerprint, place_parts, weights_part
from lossgrid.shortage import fitting
from lossgrid.space import (
    Grid,
    Plane,
    Principal,
    build_plane,
    negative_variances,
)


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
        member: which of a point's batches fall to this rank, and how many share its memory.
        made_of: the fingerprint of model, data and plane.
    """

    problem: Problem
    plane: Plane
    grid: Grid
    device: torch.device
    lanes: int
    member: Member
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
            self.problem,
            self.plane,
            self.grid,
            plan,
            self.device,
            self.lanes,
            recorded,
            self.member,
        )


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
    member = Member(*job.runtime.place(world.rank), sharers)
    return Loaded(problem, plane, grid, device, lanes(device, world.cores), member, made_of)


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


def free_memory(loaded: Loaded) -> int:
    """Bytes that this rank may still take; ask when all ranks of its node have loaded."""
    return available(loaded.device, loaded.member.sharers)

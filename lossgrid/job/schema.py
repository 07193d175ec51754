"""The job file as a whole: its sections and the rules between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from lossgrid.job import plainyaml
from lossgrid.job.curvature import CurvatureSpec
from lossgrid.job.directions import DirectionsSpec
from lossgrid.job.evaluation import EvaluationSpec
from lossgrid.job.fields import (
    AbsolutePath,
    AxisPoints,
    Checkpoints,
    Count,
    CountOrAuto,
    Duration,
    FileStem,
    Real,
    Share,
    Switch,
    expected,
    is_identifier,
    refusal,
)
from lossgrid.job.problem import (
    Loss,
    Metrics,
    ModelSpec,
    Splits,
    default_metrics,
    metric_name,
)
from lossgrid.job.section import Section, first_repeated, unknown

_OF_CURVATURE = ("curvature", "splits")

DATA_ERROR = "loss_se_data"
"""The result that tells a mean loss's standard error as that of a sample of more data."""


def of_draws(columns: Sequence[str], draws: int) -> tuple[str, ...]:
    """Names of the results of several draws: their means', then those of each draw."""
    numbers = range(draws) if draws > 1 else ()
    return (*columns, *(f"{column}_d{draw}" for draw in numbers for column in columns))


class TrajectorySpec(Section):
    """The checkpoints of a training run, to be projected onto the plane.

    Epochs and learning rates that the files do not tell may stand here, one a checkpoint.
    """

    checkpoints: Checkpoints
    """A file, a pattern such as run/epoch-*.pt (in the order of the numbers in the names), or a
    list of these."""
    epochs: list[Real] | None = None
    """A number a checkpoint, for files that don't tell it."""
    learning_rates: list[Real] | None = None
    """A number a checkpoint, with which it was reached, for files that don't tell it."""


def _trajectories(value: object) -> object:
    if not isinstance(value, dict):
        raise expected("trajectories by name, such as sgd: {checkpoints: run/epoch-*.pt}")
    for name in value:
        if not is_identifier(name):
            raise refusal("is not a trajectory's name (letters, digits, underscores)", str(name))
    return value


Trajectories = Annotated[dict[str, TrajectorySpec], BeforeValidator(_trajectories)]


class AxisSpec(Section):
    """`points` equidistant coordinates from `min` to `max`, both included."""

    min: Real
    """The first coordinate."""
    max: Real
    """The last coordinate."""
    points: AxisPoints
    """How many there are, both ends included."""

    @model_validator(mode="after")
    def _check_range(self) -> AxisSpec:
        if self.min > self.max or (self.min == self.max and self.points > 1):
            raise refusal(
                f"found {self.max:g}, expected more than min ({self.min:g}), "
                "or the same with points: 1",
                "max",
            )
        step = (self.max - self.min) / max(self.points - 1, 1)
        if self.min < self.max and not self.min < self.min + step <= self.max:
            raise refusal(f"{self.points} do not fit between min and max in float64", "points")
        return self


class GridSpec(Section):
    """A plane of alpha by beta, or a line along alpha."""

    alpha: AxisSpec
    """Along the first direction."""
    beta: AxisSpec | None = None
    """Along the second direction; without it the grid is a line."""
    refine: Share | None = None
    """Points are interpolated, not computed, where that was right within this share of the value
    (+ 0.01) on the lattice twice as coarse. They have status 3. Rank 0 holds every result in memory
    and writes the file. Does not go with `evaluation.tolerance`."""


class RuntimeSpec(Section):
    """How the ranks share the work; changes no result."""

    chunk: CountOrAuto = "auto"
    """Points handed out at a time; `auto` follows each rank's speed."""
    coordinator: Literal["shared", "dedicated"] = "shared"
    """Whether rank 0 computes as well."""
    writer: Literal["auto", "parallel", "coordinator"] = "auto"
    """All ranks write the file (h5py built with MPI), or rank 0 for them (`auto`: also on NFS)."""
    sync_seconds: Duration = 30.0
    """How much a power loss may cost; a kill costs nothing that was stored."""
    ranks_per_worker: Count = 1
    """How many ranks compute each point together, each a part of its batches. Divides the number of
    ranks that compute. Does not go with `evaluation.tolerance` or `curvature`."""
    share_gpus: Switch = False
    """Let several ranks use one GPU."""
    allow_unlike_ranks: Switch = False
    """Let ranks on unlike processors work together: bits may then differ."""

    @property
    def shared(self) -> bool:
        """Whether rank 0 computes as well."""
        return self.coordinator == "shared"

    def workers(self, ranks: int) -> int | None:
        """How many workers so many ranks are; None if they can't be cut into groups."""
        computing = ranks if self.shared else ranks - 1
        count, rest = divmod(computing, self.ranks_per_worker)
        return None if rest or not count else count

    def place(self, rank: int) -> tuple[int, int]:
        """Which of how many ranks that compute a point together a rank is, from 0 on."""
        first = 0 if self.shared else 1
        return (rank - first) % self.ranks_per_worker, self.ranks_per_worker


class Job(Section):
    """A whole job file, overrides applied, defaults filled in, paths absolute.

    Made by `read_job` alone. Two jobs are equal when their settings are, wherever their files lie.
    """

    filled_in = frozenset({"name", "output", "metrics"})

    name: FileStem
    """By default the job file's name without its suffix."""
    output: AbsolutePath
    """The results file, ending in .vtkhdf; by default out/<name>.vtkhdf beside the job file."""
    model: ModelSpec
    """The trained network."""
    data: Splits
    """One entry a split; its name begins the names of its results."""
    loss: Loss = "cross_entropy"
    """`cross_entropy`, `next_token` (language models), `mse`, or a function of outputs and targets
    that returns one loss a sample."""
    metrics: Metrics
    """`loss`, `accuracy`, a loss as above, or functions like it. Each split gets each metric, as
    <split>_<metric>. By default `[loss, accuracy]` with cross_entropy, else `[loss]`."""
    directions: DirectionsSpec = Field(default_factory=lambda: DirectionsSpec.model_validate({}))
    """What alpha and beta move the parameters along."""
    trajectories: Trajectories = Field(default_factory=dict)
    """Training runs, by names of yours, to be projected onto the plane: see trajectories.md."""
    grid: GridSpec
    """Where the loss is computed."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """How one grid point is computed."""
    curvature: CurvatureSpec | None = None
    """How the loss bends at each point, as further columns: see curvature.md."""
    runtime: RuntimeSpec = RuntimeSpec()
    """How the ranks share the work."""

    _path: Path = PrivateAttr()

    @classmethod
    def _complete(cls, data: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        name = data.get("name", context["path"].stem)
        return {
            "name": name,
            "output": f"out/{name}.vtkhdf",
            "metrics": default_metrics(data),
            **data,
        }

    def model_post_init(self, context: Any) -> None:
        """Remember the file that the job was read from."""
        self._path = context["path"]

    @model_validator(mode="after")
    def _check_columns(self) -> Job:
        repeated = first_repeated(self.columns)
        if repeated:
            raise refusal(f"two results have the same column {repeated!r}", "data")
        for name in self.model.expect:
            if name not in self.columns:
                raise refusal(
                    f"no such result {unknown(name, self.columns)}", "model", "expect", name
                )
        return self

    @model_validator(mode="after")
    def _check_tolerance(self) -> Job:
        if self.evaluation.tolerance is None:
            return self
        if self.grid.refine is not None:
            raise refusal("does not go with evaluation.tolerance; leave one out", "grid", "refine")
        if "loss" not in self.metrics:
            raise refusal("needs the loss among the metrics", "evaluation", "tolerance")
        extra = [f"{column}_sem" for column in self.columns]
        extra += [f"{split}_samples" for split in self.data]
        repeated = first_repeated([*self.columns, *extra])
        if repeated:
            raise refusal(
                f"with evaluation.tolerance {repeated!r} is the name of a result of its own",
                "metrics",
            )
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> Job:
        alone = {
            "evaluation.tolerance, whose points read few samples": self.evaluation.tolerance,
            "curvature": self.curvature,
        }
        for what, asked in alone.items():
            if self.runtime.ranks_per_worker > 1 and asked is not None:
                raise refusal(
                    f"does not go with {what}; leave one out", "runtime", "ranks_per_worker"
                )
        return self

    @model_validator(mode="after")
    def _check_statistics(self) -> Job:
        mode = self.evaluation.batchnorm.mode
        if mode != "eval" and self.directions.include == "state":
            raise refusal(
                f"moves running statistics, which batchnorm.mode: {mode} does not use",
                "directions",
                "include",
            )
        return self

    @model_validator(mode="after")
    def _check_curvature(self) -> Job:
        if self.curvature is None:
            return self
        for split in self.curvature.splits or []:
            if split not in self.data:
                raise refusal(f"{split!r} is no split {unknown(split, self.data)}", *_OF_CURVATURE)
        alone = "does not go with curvature; compute that in a job of its own, on a coarser grid"
        if self.evaluation.tolerance is not None:
            raise refusal(alone, "evaluation", "tolerance")
        if self.grid.refine is not None:
            raise refusal(alone, "grid", "refine")
        if self.evaluation.batchnorm.mode != "eval":
            raise refusal("must be eval with curvature", "evaluation", "batchnorm", "mode")
        if self.curvature.gradient and self.directions.include == "state":
            raise refusal(
                "needs directions.include: parameters, as torch has no derivatives by BatchNorm's "
                "running statistics",
                "curvature",
                "gradient",
            )
        axes = [axis for axis in ("alpha", "beta") if getattr(self.grid, axis) is not None]
        for place in self.curvature.spectrum.points if self.curvature.spectrum else []:
            if len(place) != len(axes):
                raise refusal(
                    f"found {place}, expected {' and '.join(axes)} of each place",
                    *("curvature", "spectrum", "points"),
                )
        added = self.curvature.columns_of(self.data, is_plane=self.grid.beta is not None)
        repeated = first_repeated([*self.columns, *added])
        if repeated:
            raise refusal(
                f"with curvature {repeated!r} is the name of a result of its own", "metrics"
            )
        return self

    @model_validator(mode="after")
    def _check_draws(self) -> Job:
        if self.directions.draws == 1:
            return self
        unfit = {
            "grid.beta: several draws are lines": self.grid.beta is not None,
            "trajectories: several draws have no plane to project onto": bool(self.trajectories),
            "evaluation.tolerance": self.evaluation.tolerance is not None,
            "curvature": self.curvature is not None,
        }
        for what, is_there in unfit.items():
            if is_there:
                raise refusal(f"does not go with {what}; leave one out", "directions", "draws")
        repeated = first_repeated(of_draws(self.columns, self.directions.draws))
        if repeated:
            raise refusal(f"{repeated!r} is the name of a result of its own", "metrics")
        return self

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Job:
        if self.directions.kind != "between":
            return self
        is_random = self.directions.beta is not None
        if is_random and self.grid.beta is None:
            raise refusal("is the second axis of a plane; give grid.beta", "directions", "beta")
        shape, needed = "a line (no grid.beta)", 1
        if is_random:
            shape = "a plane whose other axis is random (directions.beta is given)"
        elif self.grid.beta is not None:
            shape, needed = "a plane (grid.beta is given)", 2
        found = len(self.directions.checkpoints)
        if found != needed:
            raise refusal(
                f"found {found}, expected {needed} for {shape}", "directions", "checkpoints"
            )
        return self

    @model_validator(mode="after")
    def _check_output(self) -> Job:
        inputs = {self._path, self.model.checkpoint, self.directions.path}
        trajectories = [spec.checkpoints for spec in self.trajectories.values()]
        if self.output in inputs.union(self.directions.checkpoints, *trajectories):
            raise refusal(f"{self.output} is an input of the job, and would be lost", "output")
        if self.output.suffix != ".vtkhdf":
            raise refusal("must end in .vtkhdf, by which ParaView knows what it is", "output")
        return self

    @property
    def path(self) -> Path:
        """The job file, absolute."""
        return self._path

    @property
    def folder(self) -> Path:
        """The job file's folder, where relative paths start."""
        return self._path.parent

    @property
    def columns(self) -> list[str]:
        """The names of the results, splits outermost, in the job's order.

        `<split>_<metric>`, and `DATA_ERROR` of those that are `sampled`.
        """
        metrics = [metric_name(spec) for spec in self.metrics]
        return [
            f"{split}_{name}"
            for split in self.data
            for name in [*metrics, *([DATA_ERROR] if split in self.sampled else [])]
        ]

    @property
    def sampled(self) -> list[str]:
        """The splits that are samples of more data, if their loss is computed."""
        if "loss" not in self.metrics:
            return []
        return [split for split, spec in self.data.items() if spec.samples is not None]

    def to_yaml(self) -> str:
        """The job as it runs, every default filled in; `read_job` gives an equal job for it."""
        settings = self.model_dump()
        settings["directions"] = self.directions.applicable()
        return plainyaml.dump(settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.to_yaml() == other.to_yaml()

    def __hash__(self) -> int:
        return hash(self.to_yaml())

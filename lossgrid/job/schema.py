"""The job file's sections: their keys, defaults and the rules between keys."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from lossgrid.job import plainyaml
from lossgrid.job.fields import (
    AbsolutePath,
    AxisPoints,
    CallableSpec,
    Checkpoints,
    Count,
    CountOrAuto,
    Duration,
    FileStem,
    Kwargs,
    Patterns,
    Real,
    SampleSize,
    Seed,
    Share,
    Switch,
    Text,
    expected,
    is_callable_spec,
    is_identifier,
    refusal,
)

_LOSSES = ("cross_entropy", "next_token", "mse")
_METRICS = ("loss", "accuracy", *_LOSSES)
_OF_CURVATURE = ("curvature", "splits")

DATA_ERROR = "loss_se_data"
"""The result that tells a mean loss's standard error as that of a sample of more data."""


def metric_name(spec: str) -> str:
    """The column name of a metric: `accuracy` of "accuracy", `top5` of "my.py:top5"."""
    return spec.rpartition(":")[2].rpartition(".")[2]


def of_draws(columns: Sequence[str], draws: int) -> tuple[str, ...]:
    """Names of the results of several draws: their means', then those of each draw."""
    numbers = range(draws) if draws > 1 else ()
    return (*columns, *(f"{column}_d{draw}" for draw in numbers for column in columns))


def unknown(name: str, known: Iterable[str]) -> str:
    """The words that say that `name` is not one of the `known`, with the nearest of them."""
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"({hint}known here: {', '.join(known)})"


def _known_or_callable(value: str, known: tuple[str, ...]) -> str:
    if value not in known and not is_callable_spec(value):
        raise expected(f'a known name or "module:callable" {unknown(value, known)}')
    return value


def _loss(value: str) -> str:
    return _known_or_callable(value, _LOSSES)


def _metric(value: str) -> str:
    return _known_or_callable(value, _METRICS)


def _metrics(value: list[str]) -> list[str]:
    repeated = _first_repeated(metric_name(spec) for spec in value)
    if not value:
        raise expected("at least one metric")
    if repeated:
        raise refusal(f"two metrics are named {repeated!r}")
    return value


def _splits(value: object) -> object:
    if not isinstance(value, dict) or not value:
        raise expected("at least one split, such as test: {factory: ...}")
    for name in value:
        if not is_identifier(name):
            raise refusal("is not a split name (letters, digits and underscores)", str(name))
    return value


def _trajectories(value: object) -> object:
    if not isinstance(value, dict):
        raise expected("trajectories by name, such as sgd: {checkpoints: run/epoch-*.pt}")
    for name in value:
        if not is_identifier(name):
            raise refusal("is not a trajectory's name (letters, digits, underscores)", str(name))
    return value


def _first_repeated(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


Loss = Annotated[Text, AfterValidator(_loss)]
Metrics = Annotated[list[Annotated[Text, AfterValidator(_metric)]], AfterValidator(_metrics)]


def default_metrics(data: dict[str, Any]) -> list[str]:
    """What is computed beside the loss that `data` names, unless it says so itself."""
    classifies = data.get("loss", "cross_entropy") == "cross_entropy"
    return ["loss", "accuracy"] if classifies else ["loss"]


class Section(BaseModel):
    """A mapping of a file with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, cls):
            return data
        keys = cls.model_fields
        if not isinstance(data, dict):
            raise expected(f"the keys {', '.join(keys)}")
        for key in data:
            if key not in keys:
                raise refusal(f"unknown key {unknown(str(key), keys)}", str(key))
        return cls._complete(data, info.context or {})

    @classmethod
    def _complete(cls, data: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        """`data` with those defaults that depend on other keys."""
        return data


class NetworkSpec(Section):
    """How to build the network."""

    factory: CallableSpec
    kwargs: Kwargs = {}


class ModelSpec(NetworkSpec):
    """The trained network: where its weights are, what it should score."""

    checkpoint: AbsolutePath | None = None
    recipe: CallableSpec | None = None
    expect: dict[str, Real] = {}

    @model_validator(mode="after")
    def _check_recipe(self) -> ModelSpec:
        if self.recipe is not None and self.checkpoint is None:
            raise refusal("needs model.checkpoint, the file that it is to write", "recipe")
        return self


class SplitSpec(Section):
    """One set of samples; `samples` of them drawn with `seed`, or all."""

    factory: CallableSpec
    kwargs: Kwargs = {}
    samples: Count | None = None
    seed: Seed = 0


class RandomSpec(Section):
    """A Gaussian direction."""

    seed: Seed = 0
    normalization: Literal["filter", "layer", "model", "none"] = "filter"
    ignore: list[Literal["bias", "norm"]] = ["bias", "norm"]


class DirectionsSpec(Section):
    """What alpha and beta move the parameters along."""

    kind: Literal["random", "between", "pca", "file"] = "random"
    seed: Seed = 0
    draws: Count = 1
    normalization: Literal["filter", "layer", "model", "none"]
    ignore: list[Literal["bias", "norm"]]
    parameters: Patterns = "*"
    include: Literal["parameters", "state"] = "parameters"
    checkpoints: Checkpoints = []
    beta: RandomSpec | None = None
    path: AbsolutePath | None = None

    @classmethod
    def _complete(cls, data: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        kind = data.get("kind", "random")
        for key, owners in _KINDS_OF_KEY.items():
            if key in data and kind in _KINDS and kind not in owners:
                wanted = " or ".join(owners)
                raise refusal(f"only applies to kind: {wanted}, and this is kind: {kind}", key)
        if kind == "random":
            return {"normalization": "filter", "ignore": ["bias", "norm"], **data}
        return {"normalization": "none", "ignore": [], **data}

    @model_validator(mode="after")
    def _check_file(self) -> DirectionsSpec:
        if self.kind != "file":
            return self
        if self.path is None:
            raise refusal("is required with kind: file", "path")
        if self.normalization != "none" or self.ignore or self.parameters != "*":
            raise refusal(
                "a direction file is used as it is, without normalization, ignore or parameters",
                "kind",
            )
        return self

    @model_validator(mode="after")
    def _check_pca(self) -> DirectionsSpec:
        if self.kind != "pca":
            return self
        if not self.checkpoints:
            raise refusal("is required with kind: pca, such as run/epoch-*.pt", "checkpoints")
        if self.normalization not in ("none", "model"):
            raise refusal(
                f"{self.normalization} would turn principal components into other directions, "
                "expected none or model",
                "normalization",
            )
        return self

    def applicable(self) -> dict[str, Any]:
        """The section's keys and values, without the keys that belong to other kinds."""
        return {
            key: value
            for key, value in self.model_dump().items()
            if self.kind in _KINDS_OF_KEY.get(key, _KINDS)
        }


_KINDS_OF_KEY = {
    "seed": ["random"],
    "draws": ["random"],
    "checkpoints": ["between", "pca"],
    "beta": ["between"],
    "path": ["file"],
}
_KINDS = ["random", "between", "pca", "file"]


class TrajectorySpec(Section):
    """The checkpoints of a training run, to be projected onto the plane.

    Epochs and learning rates that the files do not tell may stand here, one a checkpoint.
    """

    checkpoints: Checkpoints
    epochs: list[Real] | None = None
    learning_rates: list[Real] | None = None


class AxisSpec(Section):
    """`points` equidistant coordinates from `min` to `max`, both included."""

    min: Real
    max: Real
    points: AxisPoints

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
    beta: AxisSpec | None = None
    refine: Share | None = None


class BatchNormSpec(Section):
    """Which statistics BatchNorm layers normalize with."""

    mode: Literal["eval", "recompute", "train"] = "eval"
    batches: Count | None = None

    @model_validator(mode="after")
    def _check_batches(self) -> BatchNormSpec:
        if self.mode == "recompute" and self.batches is None:
            raise refusal("is required with mode: recompute, the batches to read", "batches")
        if self.mode != "recompute" and self.batches is not None:
            raise refusal(f"only applies to mode: recompute, not {self.mode}", "batches")
        return self


class EvaluationSpec(Section):
    """How one grid point is computed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "tf32", "bfloat16", "float64"] = "float32"
    batch_size: CountOrAuto = "auto"
    points_per_pass: CountOrAuto = "auto"
    network: Literal["auto", "fused", "plain"] = "auto"
    tune: Switch = False
    tolerance: Share | None = None
    batchnorm: BatchNormSpec = BatchNormSpec()

    @model_validator(mode="after")
    def _check_plan(self) -> EvaluationSpec:
        several = self.points_per_pass not in ("auto", 1)
        if several and self.network == "plain":
            raise refusal("the plain network takes one point a pass", "points_per_pass")
        if several and self.tolerance is not None:
            raise refusal("evaluation.tolerance takes one point a pass", "points_per_pass")
        if self.tune and self.tolerance is not None:
            raise refusal("measures points over all samples, so not with tolerance", "tune")
        return self

    @model_validator(mode="after")
    def _check_batchnorm(self) -> EvaluationSpec:
        mode = self.batchnorm.mode
        if mode != "eval" and self.batch_size == "auto":
            raise refusal(
                f"must be a number with batchnorm.mode: {mode}, where losses depend on it",
                "batch_size",
            )
        if mode == "recompute" and self.points_per_pass not in ("auto", 1):
            raise refusal("batchnorm.mode: recompute takes one point a pass", "points_per_pass")
        return self


class GradientSpec(Section):
    """The gradient's norm, and what of it lies in the plane."""


class EigenvaluesSpec(Section):
    """The Hessian's largest and smallest eigenvalue."""

    tolerance: Share = 0.01
    iterations: Count = 100
    seed: Seed = 0


class TraceSpec(Section):
    """The Hessian's trace, estimated from random probes."""

    probes: SampleSize = 20
    seed: Seed = 0


class CurvatureSpec(Section):
    """How the loss bends at each point, with respect to all parameters."""

    splits: list[str] | None = None
    gradient: GradientSpec | None = None
    eigenvalues: EigenvaluesSpec | None = None
    trace: TraceSpec | None = None

    @model_validator(mode="after")
    def _check_asked(self) -> CurvatureSpec:
        if not (self.gradient or self.eigenvalues or self.trace):
            raise expected("at least one of gradient, eigenvalues, trace, such as {gradient: {}}")
        if self.splits is not None and (not self.splits or _first_repeated(self.splits)):
            raise refusal("expected names of splits, each once", "splits")
        return self

    def splits_of(self, known: Iterable[str]) -> list[str]:
        """The splits that are asked for, by default all."""
        return list(known) if self.splits is None else list(self.splits)

    def columns_of(self, known: Iterable[str], *, is_plane: bool) -> list[str]:
        """The names of the results, splits outermost.

        Args:
            known: the job's splits.
            is_plane: whether there is a beta.
        """
        names: list[str] = []
        if self.gradient:
            names += ["gradient_norm", "gradient_alpha"] + ["gradient_beta"] * is_plane
        if self.eigenvalues:
            parts = ("max", "min", "ratio", "residual", "iterations")
            names += [f"eigenvalue_{part}" for part in parts]
        if self.trace:
            names += ["trace", "trace_sem"]
        return [f"{split}_{name}" for split in self.splits_of(known) for name in names]


class RuntimeSpec(Section):
    """How the ranks share the work; changes no result."""

    chunk: CountOrAuto = "auto"
    coordinator: Literal["shared", "dedicated"] = "shared"
    writer: Literal["auto", "parallel", "coordinator"] = "auto"
    sync_seconds: Duration = 30.0
    share_gpus: Switch = False
    allow_unlike_ranks: Switch = False


class Job(Section):
    """A whole job file, overrides applied, defaults filled in, paths absolute.

    Made by `read_job` alone. Two jobs are equal when their settings are, wherever their files lie.
    """

    name: FileStem
    output: AbsolutePath
    model: ModelSpec
    data: Annotated[dict[str, SplitSpec], BeforeValidator(_splits)]
    loss: Loss = "cross_entropy"
    metrics: Metrics
    directions: DirectionsSpec = Field(default_factory=lambda: DirectionsSpec.model_validate({}))
    trajectories: Annotated[dict[str, TrajectorySpec], BeforeValidator(_trajectories)] = {}
    grid: GridSpec
    evaluation: EvaluationSpec = EvaluationSpec()
    curvature: CurvatureSpec | None = None
    runtime: RuntimeSpec = RuntimeSpec()

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
        repeated = _first_repeated(self.columns)
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
        repeated = _first_repeated([*self.columns, *extra])
        if repeated:
            raise refusal(
                f"with evaluation.tolerance {repeated!r} is the name of a result of its own",
                "metrics",
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
        added = self.curvature.columns_of(self.data, is_plane=self.grid.beta is not None)
        repeated = _first_repeated([*self.columns, *added])
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
        repeated = _first_repeated(of_draws(self.columns, self.directions.draws))
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

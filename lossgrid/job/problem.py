"""The sections on what is learned: network, data, loss and metrics."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lossgrid.job.fields import (
    AbsolutePath,
    CallableSpec,
    Count,
    Kwargs,
    Real,
    Seed,
    Text,
    expected,
    is_callable_spec,
    is_identifier,
    refusal,
)
from lossgrid.job.section import Section, first_repeated, unknown

_LOSSES = ("cross_entropy", "next_token", "mse")
_METRICS = ("loss", "accuracy", *_LOSSES)


def metric_name(spec: str) -> str:
    """The column name of a metric: `accuracy` of "accuracy", `top5` of "my.py:top5"."""
    return spec.rpartition(":")[2].rpartition(".")[2]


def default_metrics(data: dict[str, Any]) -> list[str]:
    """What is computed beside the loss that `data` names, unless it says so itself."""
    classifies = data.get("loss", "cross_entropy") == "cross_entropy"
    return ["loss", "accuracy"] if classifies else ["loss"]


def _known_or_callable(value: str, known: tuple[str, ...]) -> str:
    if value not in known and not is_callable_spec(value):
        raise expected(f'a known name or "module:callable" {unknown(value, known)}')
    return value


def _loss(value: str) -> str:
    return _known_or_callable(value, _LOSSES)


def _metric(value: str) -> str:
    return _known_or_callable(value, _METRICS)


def _metrics(value: list[str]) -> list[str]:
    repeated = first_repeated(metric_name(spec) for spec in value)
    if not value:
        raise expected("at least one metric")
    if repeated:
        raise refusal(f"two metrics are named {repeated!r}")
    return value


Loss = Annotated[Text, AfterValidator(_loss)]
Metrics = Annotated[list[Annotated[Text, AfterValidator(_metric)]], AfterValidator(_metrics)]


class NetworkSpec(Section):
    """How to build the network."""

    factory: CallableSpec
    """What returns the `torch.nn.Module`: "module:callable" or "file.py:callable"."""
    kwargs: Kwargs = Field(default_factory=dict)
    """The factory's arguments."""


class ModelSpec(NetworkSpec):
    """The trained network: where its weights are, what it should score."""

    checkpoint: AbsolutePath | None = None
    """The weights, theta: `torch.save` of a state_dict, or of a dictionary with one under
    `state_dict`, `model_state_dict` or `model`; or .safetensors. A prefix `module.` is dropped.
    Without it the factory's own weights are theta."""
    recipe: CallableSpec | None = None
    """Called with the model to train it in place, if the checkpoint is not there yet; the result is
    saved there."""
    expect: dict[str, Real] = Field(default_factory=dict)
    """Results at theta, such as {test_accuracy: 0.93}: the run stops if one is off by more than
    0.005, since the preprocessing is wrong then."""

    @model_validator(mode="after")
    def _check_recipe(self) -> ModelSpec:
        if self.recipe is not None and self.checkpoint is None:
            raise refusal("needs model.checkpoint, the file that it is to write", "recipe")
        return self


class SplitSpec(Section):
    """One set of samples; `samples` of them drawn with `seed`, or all."""

    factory: CallableSpec
    """What returns `(inputs, targets)`, a map-style Dataset or a `lossgrid.data.Split`: see
    jobs.md#your-own-code."""
    kwargs: Kwargs = Field(default_factory=dict)
    """The factory's arguments."""
    samples: Count | None = None
    """The first n of a permutation drawn with the seed, the same at every point; by default all, in
    the file's order. With it there is a result more, <split>_loss_se_data: see
    jobs.md#samples-of-the-data."""
    seed: Seed = 0
    """Of that permutation."""


def _splits(value: object) -> object:
    if not isinstance(value, dict) or not value:
        raise expected("at least one split, such as test: {factory: ...}")
    for name in value:
        if not is_identifier(name):
            raise refusal("is not a split name (letters, digits and underscores)", str(name))
    return value


Splits = Annotated[dict[str, SplitSpec], BeforeValidator(_splits)]

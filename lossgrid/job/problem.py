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
    kwargs: Kwargs = Field(default_factory=dict)


class ModelSpec(NetworkSpec):
    """The trained network: where its weights are, what it should score."""

    checkpoint: AbsolutePath | None = None
    recipe: CallableSpec | None = None
    expect: dict[str, Real] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_recipe(self) -> ModelSpec:
        if self.recipe is not None and self.checkpoint is None:
            raise refusal("needs model.checkpoint, the file that it is to write", "recipe")
        return self


class SplitSpec(Section):
    """One set of samples; `samples` of them drawn with `seed`, or all."""

    factory: CallableSpec
    kwargs: Kwargs = Field(default_factory=dict)
    samples: Count | None = None
    seed: Seed = 0


def _splits(value: object) -> object:
    if not isinstance(value, dict) or not value:
        raise expected("at least one split, such as test: {factory: ...}")
    for name in value:
        if not is_identifier(name):
            raise refusal("is not a split name (letters, digits and underscores)", str(name))
    return value


Splits = Annotated[dict[str, SplitSpec], BeforeValidator(_splits)]

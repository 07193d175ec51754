"""The sections on what alpha and beta move the parameters along."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from lossgrid.job.fields import AbsolutePath, Checkpoints, Count, Patterns, Seed, refusal
from lossgrid.job.section import Section

Group = Literal["bias", "norm"]
"""Parameters that are seldom moved."""


def _biases_and_norms() -> list[Group]:
    return ["bias", "norm"]


class RandomSpec(Section):
    """A Gaussian direction."""

    seed: Seed = 0
    normalization: Literal["filter", "layer", "model", "none"] = "filter"
    ignore: list[Group] = Field(default_factory=_biases_and_norms)


class DirectionsSpec(Section):
    """What alpha and beta move the parameters along."""

    filled_in = frozenset({"normalization", "ignore"})

    kind: Literal["random", "between", "pca", "file"] = "random"
    seed: Seed = 0
    draws: Count = 1
    normalization: Literal["filter", "layer", "model", "none"]
    ignore: list[Group]
    parameters: Patterns = "*"
    include: Literal["parameters", "state"] = "parameters"
    checkpoints: Checkpoints = Field(default_factory=list)
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

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
    """Of the random numbers."""
    normalization: Literal["filter", "layer", "model", "none"] = "filter"
    """To the norm of each filter, layer, or the whole of theta: see normalization.md."""
    ignore: list[Group] = Field(default_factory=_biases_and_norms)
    """Groups that stay still: biases; the parameters of BatchNorm, LayerNorm and their like. By
    default both."""


class DirectionsSpec(Section):
    """What alpha and beta move the parameters along."""

    filled_in = frozenset({"normalization", "ignore"})

    kind: Literal["random", "between", "pca", "file"] = "random"
    """Gaussian; to other checkpoints; principal components of a training run; or from a file: see
    jobs.md#directions."""
    seed: Seed = 0
    """Of kind random."""
    draws: Count = 1
    """Of kind random and a line: how many directions. Each point holds the values along all of
    them, and their mean."""
    normalization: Literal["filter", "layer", "model", "none"]
    """To the norm of each filter, layer, or the whole of theta: see normalization.md. By default
    `filter` for kind random, else `none`; with pca only `none` and `model`."""
    ignore: list[Group]
    """Groups that stay still: biases; the parameters of BatchNorm, LayerNorm and their like. By
    default both for kind random, else none."""
    parameters: Patterns = "*"
    """Patterns of the names that may move, such as "layer3.*", or a list of them."""
    include: Literal["parameters", "state"] = "parameters"
    """`state` moves BatchNorm's running statistics as well."""
    checkpoints: Checkpoints = Field(default_factory=list)
    """Of kind between: the one at alpha = 1, and of a plane that at beta = 1. Of kind pca: those
    of a training run that ends at theta."""
    beta: RandomSpec | None = None
    """Of kind between, on a plane: a random second axis in the place of the second checkpoint."""
    path: AbsolutePath | None = None
    """Of kind file: any results file, a direction file of the reference code, or your own."""

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

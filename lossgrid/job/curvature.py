"""The sections on how the loss bends at each point."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, model_validator

from lossgrid.job.fields import (
    Count,
    Patterns,
    Real,
    SampleSize,
    Seed,
    Share,
    expected,
    refusal,
)
from lossgrid.job.section import Section, first_repeated


class GradientSpec(Section):
    """The gradient's norm, and what of it lies in the plane."""


class EigenvaluesSpec(Section):
    """The Hessian's largest and smallest eigenvalue."""

    tolerance: Share = 0.01
    """Products go on until the residual of both is below this share of them."""
    iterations: Count = 100
    """Products at most."""
    seed: Seed = 0
    """Of the vector to begin with."""


class TraceSpec(Section):
    """The Hessian's trace, estimated from random probes."""

    probes: SampleSize = 20
    """Random vectors: the error falls with the square root of their number."""
    seed: Seed = 0
    """Of these vectors."""


def _coordinates(value: object) -> object:
    """A place of a line may be a number."""
    return value if isinstance(value, list) else [value]


class SpectrumSpec(Section):
    """The density of the Hessian's eigenvalues, at some places of the plane or line."""

    points: list[Annotated[list[Real], BeforeValidator(_coordinates)]]
    """Such as [[0, 0], [1, 1]]: alpha and beta of each place; of a line alpha alone."""
    probes: Count = 5
    """Random vectors at each place."""
    iterations: Count = 80
    """Products with the Hessian for each vector."""
    seed: Seed = 0
    """Of these vectors."""

    @model_validator(mode="after")
    def _check_points(self) -> SpectrumSpec:
        if not self.points:
            raise refusal("expected at least one place, such as [[0, 0]]", "points")
        return self


class HooksSpec(Section):
    """What comes out of layers, and how large their gradients are."""

    layers: Patterns | None = None
    """Patterns of names of modules; by default all that hold no others."""

    @property
    def patterns(self) -> list[str] | None:
        """Of the layers' names."""
        return [self.layers] if isinstance(self.layers, str) else self.layers


ACTIVATIONS = ("activation_mean", "activation_std", "activation_zeros")
"""Statistics of what comes out of a layer."""

LAYER_GRADIENT = "layer_gradient_norm"
"""The gradient's norm by a layer's parameters alone."""


class CurvatureSpec(Section):
    """How the loss bends at each point, with respect to all parameters."""

    splits: list[str] | None = None
    """Names of the splits whose loss is meant; by default all."""
    gradient: GradientSpec | None = None
    """`{}` for its norm, and the surface's slopes."""
    eigenvalues: EigenvaluesSpec | None = None
    """The Hessian's largest and smallest, and their ratio."""
    trace: TraceSpec | None = None
    """The Hessian's, and its standard error."""
    spectrum: SpectrumSpec | None = None
    """The density of the Hessian's eigenvalues at some places of the plane."""
    hooks: HooksSpec | None = None
    """What comes out of each layer, and its gradient; `{}` for all layers."""

    @model_validator(mode="after")
    def _check_asked(self) -> CurvatureSpec:
        kinds = [key for key in type(self).model_fields if key != "splits"]
        if not any(getattr(self, kind) for kind in kinds):
            raise expected(f"at least one of {', '.join(kinds)}, such as {{gradient: {{}}}}")
        if self.splits is not None and (not self.splits or first_repeated(self.splits)):
            raise refusal("expected names of splits, each once", "splits")
        return self

    def splits_of(self, known: Iterable[str]) -> list[str]:
        """The splits that are asked for, by default all."""
        return list(known) if self.splits is None else list(self.splits)

    def columns_of(self, known: Iterable[str], *, is_plane: bool) -> list[str]:
        """The names of the results at grid points, splits outermost.

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

"""The sections on how one grid point is computed."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from lossgrid.job.fields import Count, CountOrAuto, Share, Switch, refusal
from lossgrid.job.section import Section


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

"""The sections on how one grid point is computed."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from lossgrid.job.fields import Count, CountOrAuto, Share, Switch, refusal
from lossgrid.job.section import Section


class BatchNormSpec(Section):
    """Which statistics BatchNorm layers normalize with."""

    mode: Literal["eval", "recompute", "train"] = "eval"
    """The checkpoint's; those of the weights at the point; or each batch's own."""
    batches: Count | None = None
    """Of mode recompute: how many batches of the split `train` the statistics are made of."""

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
    """`auto` takes a GPU where there is one."""
    precision: Literal["float32", "tf32", "bfloat16", "float64"] = "float32"
    """Of the forward pass; means over samples are float64 always. What `tf32` (NVIDIA GPUs only)
    and `bfloat16` gain and cost: see precision.md."""
    batch_size: CountOrAuto = "auto"
    """Samples a pass. Changes the last bits of the results, so a file keeps the one that it was
    begun with; so for the next two. `auto` is halved where memory is short, also during a run; a
    number is kept, and points without memory fail."""
    points_per_pass: CountOrAuto = "auto"
    """Points that go through a small network at a time."""
    network: Literal["auto", "fused", "plain"] = "auto"
    """The traced and rewritten network, or your module as it is. `fused` is a wish, as `auto` is:
    where it gives other values, the plain one computes."""
    tune: Switch = False
    """Measure, before the first point, whether other sizes or the plain network are faster than
    what the rules choose; at most 2 % of the predicted time, so nothing on short runs. `lossgrid
    plan` shows the plan, why it was chosen, and the three keys that pin it."""
    tolerance: Share | None = None
    """Standard error that a loss may have, relative to the loss + 0.01: each point uses as many
    samples as that takes. See tolerance.md."""
    batchnorm: BatchNormSpec = BatchNormSpec()
    """Which statistics BatchNorm normalizes with: see jobs.md#batchnorm."""

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

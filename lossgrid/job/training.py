"""The training file's sections: how a network's weights come about."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from lossgrid.job.fields import (
    AbsolutePath,
    Count,
    Momentum,
    NotNegative,
    Pixels,
    Positive,
    Seed,
    Switch,
    Threads,
    refusal,
)
from lossgrid.job.problem import (
    Loss,
    Metrics,
    NetworkSpec,
    SplitSpec,
    default_metrics,
    metric_name,
)
from lossgrid.job.section import Section

SPLITS = ("train", "test")


class InitialSpec(NetworkSpec):
    """The network and the seed of its first weights."""

    seed: Seed = 0
    """Of the initial weights: runs of one seed begin with the same."""


class SamplesSpec(Section):
    """What is trained on, and what is only looked at."""

    train: SplitSpec
    """What is trained on."""
    test: SplitSpec
    """What is evaluated after each epoch."""


class OptimizerSpec(Section):
    """One of torch.optim, and its settings; momentum and nesterov are those of sgd."""

    kind: Literal["sgd", "adam"] = "sgd"
    """Those of torch.optim."""
    learning_rate: Positive
    """Of the first epoch."""
    momentum: Momentum = 0.9
    """Of kind sgd."""
    nesterov: Switch = True
    """Of kind sgd."""
    weight_decay: NotNegative = 0.0
    """Of all parameters, as in torch.optim."""

    @classmethod
    def _complete(cls, data: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        for key in ("momentum", "nesterov"):
            if key in data and data.get("kind") == "adam":
                raise refusal("only applies to kind: sgd, and this is kind: adam", key)
        return data

    @model_validator(mode="after")
    def _check_nesterov(self) -> OptimizerSpec:
        if self.nesterov and self.momentum == 0:
            raise refusal("needs momentum; set it to false, or momentum to 0.9", "nesterov")
        return self


class ScheduleSpec(Section):
    """The learning rate is multiplied by `gamma` after each of the epochs `milestones`."""

    milestones: list[Count] = Field(default_factory=list)
    """Epochs after which the learning rate drops; by default none."""
    gamma: Positive = 0.1
    """What it is multiplied by."""


class AugmentationSpec(Section):
    """Random windows of images that get a black border of `crop` pixels; random mirroring."""

    crop: Pixels = 0
    """The pixels of the black border out of which windows of the image's size are cut."""
    flip: Switch = False
    """Whether half of the images are mirrored."""


class ComputeSpec(Section):
    """Where and how exactly it is computed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """`bfloat16` is autocast: weights, their updates, sums and losses stay float32. `tf32` is for
    NVIDIA GPUs."""
    threads: Threads = "auto"
    """Of a CPU; `auto`: OMP_NUM_THREADS, or one a core. Where others use the cores as well, 1 can
    be the fastest by far."""


class Training(Section):
    """A whole training file, overrides applied, defaults filled in, paths absolute.

    Made by `read_training` alone.
    """

    filled_in = frozenset({"output", "metrics"})

    output: AbsolutePath
    """Folder of the run; by default out/<name of the file> beside it."""
    model: InitialSpec
    """As in jobs, but without a checkpoint, and with a seed."""
    data: SamplesSpec
    """As in jobs, with these two splits."""
    loss: Loss = "cross_entropy"
    """As in jobs."""
    metrics: Metrics
    """As in jobs."""
    optimizer: OptimizerSpec
    """What takes the steps."""
    schedule: ScheduleSpec = Field(default_factory=lambda: ScheduleSpec.model_validate({}))
    """When the learning rate drops."""
    augmentation: AugmentationSpec = Field(
        default_factory=lambda: AugmentationSpec.model_validate({})
    )
    """Of training images."""
    batch_size: Count
    """Samples of a step. The last step of an epoch may have fewer; none are left out. A single one,
    which BatchNorm can't take, joins the step before it."""
    epochs: Count
    """How many there are; more can be asked for later."""
    every: Count = 1
    """A checkpoint after each so many epochs."""
    seed: Seed = 0
    """Of the order of samples, crops, flips and dropout."""
    compute: ComputeSpec = Field(default_factory=lambda: ComputeSpec.model_validate({}))
    """Where and how exactly it is computed."""

    _path: Path = PrivateAttr()

    @classmethod
    def _complete(cls, data: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        output = f"out/{context['path'].stem}"
        return {"output": output, "metrics": default_metrics(data), **data}

    def model_post_init(self, context: Any) -> None:
        """Remember the file that it was read from."""
        self._path = context["path"]

    @property
    def folder(self) -> Path:
        """The training file's folder, where relative paths start."""
        return self._path.parent

    @property
    def columns(self) -> list[str]:
        """The names `<split>_<metric>` of the values of an epoch, splits outermost."""
        return [f"{split}_{metric_name(spec)}" for split in SPLITS for spec in self.metrics]

    def learning_rate(self, epoch: int) -> float:
        """With which epoch `epoch` is trained; the first is 1, the initial weights are 0."""
        drops = sum(milestone < epoch for milestone in self.schedule.milestones)
        return self.optimizer.learning_rate * self.schedule.gamma**drops

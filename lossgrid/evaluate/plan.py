"""How every point is evaluated: chosen once, the same on all ranks, stored in the results file."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from lossgrid.errors import UserError
from lossgrid.evaluate.device import has_tf32, tf32
from lossgrid.evaluate.widths import Widths, widths
from lossgrid.job import EvaluationSpec
from lossgrid.problem import Problem

ELEMENTS = {"cpu": 72 * 16 * 32 * 32, "cuda": 1000 * 16 * 32 * 32}
"""Numbers in the widest result of a pass: on a CPU it stays in the caches. There convolutions take
half as many, or twice as many if these have two bytes, which take less reading."""

LARGEST = {"cpu": 512, "cuda": 4096}
"""Samples a batch when the rule chooses; some batches are left for every lane."""

LARGEST_SAMPLED = {"cpu": 50, "cuda": 200}
"""The same where a point uses some samples only: whole batches."""

POINTS = (32, 1)
"""Points a pass. Thirty-two leave no remainder to the scalar code after a vector loop, which
may round otherwise, and would make the bits of the last point depend on its place."""

MOST_WEIGHTS = 1 << 24
"""Numbers in the weights of all points of a pass; larger layers need no company to be fast."""

LARGEST_PASS = 1 << 28
"""Numbers in the widest result of all samples of several points: half a second's work."""

SMALLEST = 16
"""Samples a batch."""


@dataclass(frozen=True)
class Plan:
    """Everything that the bits of a value depend on beside the job itself.

    A batch runs on one thread wherever it runs on a CPU: operations that are split over threads
    sum in another order. Cores are used by running several batches at a time.

    Attributes:
        device: cpu or cuda.
        hardware: what kind of it (CPU model and capability, GPU name).
        torch_version: whose kernels compute.
        precision: of the forward pass; means over samples are float64 always.
        batch_size: samples in every pass of a split; splits with fewer take theirs at once.
        network: "fused" (see `FusedNetwork`) or "plain", the user's own module as it is.
        points_per_pass: grid points that go through a fused network at a time.
    """

    device: str
    hardware: str
    torch_version: str
    precision: str
    batch_size: int
    network: Literal["fused", "plain"]
    points_per_pass: int = 1

    def to_json(self) -> str:
        """The plan as the results file holds it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan out of a results file.

        Raises:
            UserError: it is one of another version of lossgrid, or none at all.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"the results' plan can't be read ({error}), as another version of lossgrid began "
                "them; finish them with that one, or start anew with --overwrite"
            ) from error

    @property
    def form(self) -> str:
        """Which network computes, in words."""
        several = f", {self.points_per_pass} points a pass" if self.points_per_pass > 1 else ""
        return f"{self.network} network{several}"

    @property
    def sizes(self) -> str:
        """Which network computes how much at a time, in words."""
        return f"{self.form}, batches of {self.batch_size}"

    @property
    def dtype(self) -> torch.dtype:
        """Type of theta, directions, inputs and per-sample losses."""
        return dtype_of(self.precision)

    @property
    def is_low(self) -> bool:
        """Whether layers compute in less than float32."""
        return self.precision in ("bfloat16", "tf32")

    @property
    def channels_last(self) -> bool:
        """Whether convolutions are fastest on images whose channels lie together in memory.

        That is so on CPUs, and on GPUs with tensor cores, which float32 does not use.
        """
        return self.device == "cpu" or self.is_low

    @property
    def exact(self) -> Plan:
        """The same plan in float32 at least."""
        return replace(self, precision="float32") if self.is_low else self

    def arithmetic(self) -> AbstractContextManager[None]:
        """In which the plan's precision holds."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device, torch.bfloat16, cache_enabled=False)
        return tf32() if self.precision == "tf32" else nullcontext()

    def forward(self, network: Callable[[Any], Any], inputs: Any) -> Any:
        """Outputs of a network, computed in the plan's precision; they are of the type `dtype`."""
        with self.arithmetic():
            outputs = network(inputs)
        return tree_map(self._raised, outputs) if self.is_low else outputs

    def _raised(self, leaf: Any) -> Any:
        is_low = isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16
        return leaf.to(self.dtype) if is_low else leaf


def choose_plan(
    spec: EvaluationSpec, problem: Problem, device: torch.device, width: Widths | None = None
) -> Plan:
    """Choose by rules alone, so that the same job gets the same plan on the same hardware.

    A pass is as large as brings the network's widest result to a size that suits the device:
    several points, and samples of each. Networks with convolutions gain nothing from several
    points, nor do layers in bfloat16.

    What the job pins is taken as it is. The choice is a hope: `check` says whether it works for
    this network.

    Args:
        spec: what the user asks for.
        problem: what is to be evaluated.
        device: the rank's own.
        width: of the network, if it is known.

    Raises:
        UserError: the device does not have the precision.
    """
    if spec.precision == "tf32" and not has_tf32(device):
        raise UserError(
            "evaluation.precision: tf32 needs an NVIDIA GPU (Ampere or newer), and points are "
            f"computed on {hardware(device)} here; set it to float32 or bfloat16"
        )
    kind = device.type
    width = width or widths(problem)
    samples = max(len(split) for split in problem.splits.values())
    room = ELEMENTS[kind] // width.widest  # samples of all points of a batch together
    if kind == "cpu" and width.convolves:
        room = room * 2 if spec.precision == "bfloat16" else room // 2
    points = _points_per_pass(spec, width, samples, room)
    return Plan(
        kind,
        hardware(device),
        torch.__version__,
        spec.precision,
        _batch_size(spec, kind, samples, room // points),
        "plain" if spec.network == "plain" else "fused",
        points,
    )


def _points_per_pass(spec: EvaluationSpec, width: Widths, samples: int, room: int) -> int:
    if spec.network == "plain":
        return 1
    if spec.points_per_pass != "auto":
        return spec.points_per_pass
    if width.convolves or spec.precision == "bfloat16":
        return 1
    if spec.tolerance is not None or spec.batchnorm.mode == "recompute":
        return 1
    least = SMALLEST if spec.batch_size == "auto" else min(spec.batch_size, samples)
    of_results = min(LARGEST_PASS // (samples * width.widest), room // least)
    most = max(min(of_results, MOST_WEIGHTS // max(width.weights, 1)), 1)
    return next(points for points in POINTS if points <= most)


def _batch_size(spec: EvaluationSpec, kind: str, samples: int, room: int) -> int:
    if spec.batch_size != "auto":
        return spec.batch_size
    largest = (LARGEST if spec.tolerance is None else LARGEST_SAMPLED)[kind]
    return _even(samples, min(max(room, SMALLEST), largest))


def _even(samples: int, largest: int) -> int:
    """The batch size that cuts samples evenly into as few batches as the largest does.

    Several become an even number, since so are most processors' cores.
    """
    count = math.ceil(samples / largest)
    return math.ceil(samples / (count + count % 2 if count > 1 else 1))


def dtype_of(precision: str) -> torch.dtype:
    """Type of theta and directions."""
    return torch.float64 if precision == "float64" else torch.float32


def hardware(device: torch.device) -> str:
    """What kind of device it is: CPU model and capability, or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"


def _cpu_model() -> str:
    """The processor as Linux names it: libraries choose kernels by more than its capability."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())

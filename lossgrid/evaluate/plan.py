"""How every point is evaluated: chosen once, the same on all ranks, stored in the results file."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lossgrid.errors import UserError
from lossgrid.job import EvaluationSpec
from lossgrid.problem import Problem

ELEMENTS = {"cpu": 50 * 3 * 32 * 32, "cuda": 1000 * 3 * 32 * 32}
"""Input numbers a batch: 50 CIFAR images on a CPU, whose activations stay near the caches."""

SMALLEST, LARGEST = 16, {"cpu": 128, "cuda": 4096}
"""Samples a batch when the rule chooses; small sets keep some batches for every lane."""


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
    def dtype(self) -> torch.dtype:
        """Type of theta, directions, inputs and per-sample losses."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def is_low(self) -> bool:
        """Whether layers compute in bfloat16, by torch's autocast."""
        return self.precision == "bfloat16"

    def forward(self, network: Callable[[Any], Any], inputs: Any) -> Any:
        """Outputs of a network, computed in the plan's precision; they are of the type `dtype`."""
        if not self.is_low:
            return network(inputs)
        with torch.autocast(self.device, torch.bfloat16, cache_enabled=False):
            return tree_map(self._raised, network(inputs))

    def _raised(self, leaf: Any) -> Any:
        is_low = isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16
        return leaf.to(self.dtype) if is_low else leaf


def choose_plan(spec: EvaluationSpec, problem: Problem, device: torch.device) -> Plan:
    """Choose by rules alone, so that the same job gets the same plan on the same hardware.

    The choice is a hope: `check` says whether it works for this network.

    Args:
        spec: what the user asks for.
        problem: what is to be evaluated.
        device: the rank's own.
    """
    kind = device.type
    batch_size = spec.batch_size if spec.batch_size != "auto" else _batch_size(problem, kind)
    hardware = _hardware(device)
    return Plan(kind, hardware, torch.__version__, spec.precision, batch_size, "fused")


def _batch_size(problem: Problem, device: str) -> int:
    """As many samples as bring a batch's input to a size that suits the device."""
    per_sample = max(
        sum(int(leaf[0].numel()) for leaf in tree_leaves(split.inputs))
        for split in problem.splits.values()
    )
    return min(max(ELEMENTS[device] // max(per_sample, 1), SMALLEST), LARGEST[device])


def _hardware(device: torch.device) -> str:
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

"""Training on one device, a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lossgrid.data import Split
from lossgrid.data.split import cast_floats
from lossgrid.evaluate.device import tf32
from lossgrid.job import Training
from lossgrid.problem.factory import user_errors
from lossgrid.problem.forward import forward
from lossgrid.train.augmentation import cropped, mirrored
from lossgrid.train.draws import Draws, draw

EVALUATED = 500
"""Samples of the test split at a time."""

PerSample = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Task:
    """What a network is trained on.

    Attributes:
        train: samples to train on.
        test: samples to look at.
        loss: of each sample; its mean over a batch is minimized.
        metrics: by name, of each sample.
    """

    train: Split
    test: Split
    loss: PerSample
    metrics: Mapping[str, PerSample]


class Trainer:
    """A network on its way; `snapshot` is all that goes on from here with the same bits.

    Nothing makes the host wait for a GPU within an epoch.

    Args:
        training: the settings.
        model: is trained in place, on ``device``.
        task: its data and loss.
        device: where the data are kept as well, as they are stored.

    Attributes:
        epoch: how many are complete.
        batch: how many batches of the next one are.
        batches: of an epoch; the last may be smaller than the others, or larger by one sample.
    """

    def __init__(self, training: Training, model: nn.Module, task: Task, device: torch.device):
        self._training = training
        self._model = model.to(device)
        for weight in model.parameters():
            weight.data = _channels_last(weight.data)
        self._loss, self._metrics = task.loss, task.metrics
        self._train, self._test = (_placed(split, device) for split in (task.train, task.test))
        self._device = device
        self._optimizer = _optimizer(training, model)
        self.epoch = self.batch = 0
        self.batches = _batches(len(task.train), training.batch_size)
        self._sums = torch.zeros(len(task.metrics), dtype=torch.float64, device=device)
        self._seconds = 0.0

    def steps(self) -> Iterator[None]:
        """Train on what is left of the epoch under way; yields after each batch."""
        settings, epoch = self._training, self.epoch + 1
        border = settings.augmentation.crop
        draws = draw(settings.seed, epoch, len(self._train), self.batches, border)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate(epoch)
        self._model.train()
        for batch in range(self.batch, self.batches):
            began = time.monotonic()
            with user_errors(f"training with batch_size {settings.batch_size}"):
                self._step(draws, batch)
            self.batch = batch + 1
            self._seconds += time.monotonic() - began
            yield

    def finish(self) -> dict[str, float]:
        """End the epoch, all batches of which are done.

        Returns: its number, learning rate, mean metrics and seconds. Those of the training split
            are of the batches as they were trained on: augmented, each before its own step.
        """
        began = time.monotonic()
        means = [*self._means(self._sums, self._train), *self.evaluate()]
        seconds = self._seconds + time.monotonic() - began
        self.epoch, self.batch, self._seconds = self.epoch + 1, 0, 0.0
        self._sums.zero_()
        rate = self._training.learning_rate(self.epoch)
        columns = zip(self._training.columns, means, strict=True)
        return {"epoch": self.epoch, "learning_rate": rate, **dict(columns), "seconds": seconds}

    @torch.no_grad()
    def evaluate(self) -> list[float]:
        """Mean metrics over the test split, in eval mode."""
        self._model.eval()
        sums = torch.zeros_like(self._sums)
        for begin in range(0, len(self._test), EVALUATED):
            inputs, targets = self._test.rows(begin, begin + EVALUATED)
            outputs, targets = self._forward(self._test, inputs, targets)
            self._count(sums, outputs, targets)
        return self._means(sums, self._test)

    def is_finite(self) -> bool:
        """Whether all parameters are numbers."""
        finite = [weight.isfinite().all() for weight in self._model.parameters()]
        return bool(torch.stack(finite).all())

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's state, on the CPU, in the order of memory that files have."""
        return {name: _copied(tensor) for name, tensor in self._model.state_dict().items()}

    def snapshot(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "state_dict": self.weights(),
            "optimizer": self._optimizer.state_dict(),
            "sums": self._sums.cpu(),
            "seconds": self._seconds,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot of the same settings."""
        self.epoch, self.batch = snapshot["epoch"], snapshot["batch"]
        self._model.load_state_dict(snapshot["state_dict"])
        self._optimizer.load_state_dict(snapshot["optimizer"])
        self._sums.copy_(snapshot["sums"])
        self._seconds = snapshot["seconds"]

    def _step(self, draws: Draws, batch: int) -> None:
        begin, last = batch * self._training.batch_size, batch + 1 == self.batches
        rows = slice(begin, None if last else begin + self._training.batch_size)
        torch.manual_seed(draws.seeds[batch])
        inputs, targets = self._drawn(draws, rows)
        outputs, targets = self._forward(self._train, inputs, targets)
        self._optimizer.zero_grad()
        torch.autograd.backward(self._loss(outputs, targets).mean())
        self._optimizer.step()
        with torch.no_grad():
            self._count(self._sums, outputs, targets)

    def _drawn(self, draws: Draws, rows: slice) -> tuple[Any, Any]:
        """Samples as they are stored, cut and mirrored."""
        spec = self._training.augmentation
        order, top, left, flipped = (
            numbers[rows].to(self._device, non_blocking=True)
            for numbers in (draws.order, draws.top, draws.left, draws.mirrored)
        )
        inputs, targets = (
            tree_map(lambda leaf: leaf[order], tree)
            for tree in (self._train.inputs, self._train.targets)
        )
        if spec.crop:
            inputs = cropped(inputs, spec.crop, top, left)
        return (mirrored(inputs, flipped) if spec.flip else inputs), targets

    def _forward(self, split: Split, inputs: Any, targets: Any) -> tuple[Any, Any]:
        """Outputs and targets in float32, computed in the precision that is asked for."""
        batch = Split(inputs, targets, split.prepare)
        inputs, targets = batch.batch(0, len(batch), torch.float32)
        with self._arithmetic():
            outputs = forward(self._model, tree_map(_channels_last, inputs))
        return cast_floats(outputs, torch.float32), targets

    def _arithmetic(self) -> AbstractContextManager[None]:
        precision = self._training.compute.precision
        if precision == "bfloat16":
            return torch.autocast(self._device.type, torch.bfloat16)
        return tf32() if precision == "tf32" else nullcontext()

    def _count(self, sums: Tensor, outputs: Any, targets: Any) -> None:
        values = [metric(outputs, targets).double().sum() for metric in self._metrics.values()]
        sums += torch.stack(values)

    @staticmethod
    def _means(sums: Tensor, split: Split) -> list[float]:
        means: list[float] = (sums / len(split)).tolist()
        return means


def _batches(samples: int, size: int) -> int:
    """How many an epoch has: a single sample left, which BatchNorm can't take, joins the last."""
    full, left = divmod(samples, size)
    return full + (left > 1 or full == 0)


def _optimizer(training: Training, model: nn.Module) -> torch.optim.Optimizer:
    spec, weights = training.optimizer, model.parameters()
    if spec.kind == "adam":
        return torch.optim.Adam(weights, spec.learning_rate, weight_decay=spec.weight_decay)
    return torch.optim.SGD(
        weights,
        spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
    )


def _placed(split: Split, device: torch.device) -> Split:
    """A split on a device, in the type that it is stored in."""

    def place(leaf: Tensor) -> Tensor:
        return _channels_last(leaf.to(device))

    return Split(tree_map(place, split.inputs), tree_map(place, split.targets), split.prepare)


def _channels_last(leaf: Tensor) -> Tensor:
    return leaf.contiguous(memory_format=torch.channels_last) if leaf.dim() == 4 else leaf


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()

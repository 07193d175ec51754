"""`lossgrid train`: from a training file to checkpoints of every epoch."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from lossgrid.data import Collated
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.world import refuse_several
from lossgrid.errors import UserError
from lossgrid.evaluate import hardware
from lossgrid.evaluate.device import has_tf32, keep_memory, lanes, own_device
from lossgrid.exits import BAD_INPUT, COMPLETE, UNFINISHED
from lossgrid.job import Training, read_training
from lossgrid.problem.losses import load_loss, load_metrics
from lossgrid.problem.probe import probe
from lossgrid.problem.problem import make_model
from lossgrid.problem.splits import load_split
from lossgrid.run.fingerprint import contents, differences, digest
from lossgrid.store.lock import RunLock
from lossgrid.streams import unfailing
from lossgrid.train.folder import RunFolder
from lossgrid.train.trainer import Task, Trainer

FREE = {"output", "data", "epochs", "every", "compute"}
"""Settings that a resumed run may change, or that are compared by what they lead to."""


@unfailing()
def train(path: Path, overrides: Sequence[str] = (), overwrite: bool = False) -> int:
    """Train what is left of the epochs that a training file asks for.

    Args:
        path: of the training file.
        overrides: "key.path=value" settings.
        overwrite: start anew, even if there are checkpoints.

    Returns: the exit status (see `lossgrid.exits`).

    Raises:
        UserError: bad input, a full disk, a run that may not be continued, or that diverges.
    """
    if refuse_several("lossgrid train"):
        return BAD_INPUT
    console = Console(file=sys.stdout, highlight=False)
    training = read_training(path, overrides)
    try:
        with StopRequest() as stopping, RunLock(training.output, console.print) as lock:
            lock.forget_power_loss()  # every file is there whole or not at all
            return _Run(training, console, overwrite).follow(stopping)
    except KeyboardInterrupt:  # the second SIGINT: at once
        return UNFINISHED


class _Run:
    """One process's part of a training run."""

    def __init__(self, training: Training, console: Console, overwrite: bool) -> None:
        self._training = training
        self._console = console
        self._folder = RunFolder(training.output)
        stored = None if overwrite else self._folder.read()
        if stored is None and not overwrite:
            self._folder.check_new()
        device = own_device(training.compute.device, 0, 1, share=True)
        _check_precision(training, device)
        self._place = _place(training, device, stored)
        torch.set_num_threads(int(self._place["threads"]))
        keep_memory(device)
        model, task = _load(training)
        self._facts = _facts(training, model, task)
        self._rows: list[dict[str, float]] = []
        self._trainer = Trainer(training, model, task, device)
        if overwrite:  # now that nothing is wrong with what comes instead
            self._folder.clear()
        if stored is None:
            self._keep_epoch()
        else:
            self._continue(stored)

    def follow(self, stopping: StopRequest) -> int:
        """Train epoch after epoch, until the last or a signal; the exit status."""
        trainer, epochs = self._trainer, self._training.epochs
        with self._bar() as advance, stopping.heeded():
            while trainer.epoch < epochs:
                for _ in trainer.steps():
                    advance()
                    if stopping() and trainer.batch < trainer.batches:
                        return self._stop(stopping)
                self._finish()
                if stopping() and trainer.epoch < epochs:
                    return self._stop(stopping)
        self._say(f"{self._training.output}: complete after {trainer.epoch} epochs")
        return COMPLETE

    def _continue(self, stored: Mapping[str, Any]) -> None:
        """Go on where a run has stopped, if it was this one."""
        found = differences(stored["facts"], self._facts)
        if found:
            raise UserError(
                f"{self._training.output}: belongs to another training run, which differs in "
                f"{'; '.join(phrase for _, phrase in found)}: set another 'output', or start anew "
                "with --overwrite"
            )
        moved = differences(stored["place"], self._place)
        self._rows = [dict(row) for row in stored["rows"]]
        self._trainer.restore(stored["snapshot"])
        self._folder.save_metrics(self._rows)
        if self._trainer.epoch >= self._training.epochs:
            self._keep_last()
            return
        self._say(f"resumed after {self._so_far()}")
        if moved:
            told = "; ".join(phrase for _, phrase in moved)
            self._say(f"not where it began, so the last bits may differ: {told}")

    def _finish(self) -> None:
        row = self._trainer.finish()
        # Metrics alone may not tell: accuracy is a number whatever the outputs are.
        if not (all(map(math.isfinite, row.values())) and self._trainer.is_finite()):
            raise UserError(
                f"{self._training.output}: training diverged in epoch {row['epoch']:.0f} "
                f"({_told(row)}): lower optimizer.learning_rate"
            )
        self._rows.append(row)
        self._keep_epoch()
        self._say(f"epoch {row['epoch']:.0f} of {self._training.epochs}: {_told(row)}")

    def _keep_epoch(self) -> None:
        """First the checkpoint, then what says that the epoch is complete, then its row."""
        epoch = self._trainer.epoch
        if epoch % self._training.every == 0 or epoch == self._training.epochs:
            self._save_checkpoint()
        self._save()
        self._folder.save_metrics(self._rows)

    def _keep_last(self) -> None:
        """Nothing is left to train; but fewer epochs may be asked for than at first."""
        epochs = self._training.epochs
        if self._folder.checkpoint(epochs).exists():
            return
        if self._trainer.epoch > epochs or self._trainer.batch:
            raise UserError(
                f"{self._training.output}: is trained for {self._so_far()}, and the weights after "
                f"epoch {epochs} have not been kept: set epochs to {self._trainer.epoch + 1} or "
                "more, or start anew with --overwrite"
            )
        self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        epoch = self._trainer.epoch
        rate = self._training.learning_rate(epoch)
        checkpoint = {"epoch": epoch, "learning_rate": rate, "state_dict": self._trainer.weights()}
        self._folder.save_checkpoint(checkpoint, epoch)

    def _save(self) -> None:
        snapshot = self._trainer.snapshot()
        content = {"facts": self._facts, "place": self._place, "rows": self._rows}
        self._folder.save({**content, "snapshot": snapshot})

    def _stop(self, stopping: StopRequest) -> int:
        assert stopping.signal is not None
        self._save()
        self._say(
            f"stopped by {stopping.signal.name} after {self._so_far()}: run the same command again "
            "to go on"
        )
        return UNFINISHED

    def _so_far(self) -> str:
        epochs, batches = self._trainer.epoch, self._trainer.batch
        return f"{epochs} epochs and {batches} batches" if batches else f"{epochs} epochs"

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def _bar(self) -> Iterator[Any]:
        """A bar of all batches, on a terminal; gives what to call after each batch."""
        trainer = self._trainer
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        done = trainer.epoch * trainer.batches + trainer.batch
        task = bar.add_task("", total=self._training.epochs * trainer.batches, completed=done)

        def advance() -> None:
            epoch = f"epoch {trainer.epoch + 1} of {self._training.epochs}"
            bar.update(task, advance=1, description=epoch)

        with bar:
            yield advance


def _load(training: Training) -> tuple[nn.Module, Task]:
    """The network with its initial weights and what it is trained on, tried on two samples."""
    folder, data = training.folder, training.data
    model = make_model(training.model, folder, training.model.seed).cpu().eval()
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UserError(
            f"model.factory {training.model.factory!r} made a model without parameters to train: "
            "name another"
        )
    loss = load_loss(training.loss, folder)
    metrics = load_metrics(list(training.metrics), loss, folder)
    train, test = load_split("train", data.train, folder), load_split("test", data.test, folder)
    for name, split in (("train", train), ("test", test)):
        if isinstance(split, Collated):
            raise UserError(
                f"data.{name}: is for a collate function, with which lossgrid does not train; "
                "train with a program of your own"
            )
        probe(model, name, split, loss, metrics)
    inputs, spec = train.inputs, training.augmentation
    if (spec.crop or spec.flip) and not (isinstance(inputs, torch.Tensor) and inputs.dim() == 4):
        raise UserError(
            "augmentation: crop and flip need data.train to be images, one tensor of shape "
            "(n, channels, height, width): leave augmentation out"
        )
    return model, Task(train, test, loss, metrics)


def _check_precision(training: Training, device: torch.device) -> None:
    if training.compute.precision == "tf32" and not has_tf32(device):
        raise UserError(
            "compute.precision: tf32 needs an NVIDIA GPU (Ampere or newer), and this is "
            f"{hardware(device)}; set it to float32 or bfloat16"
        )


def _facts(training: Training, model: nn.Module, task: Task) -> dict[str, str]:
    """What a run must have in common with the one that it continues."""
    settings = training.model_dump(exclude=FREE)
    return {
        **{key: str(value) for key, value in settings.items()},
        "precision": training.compute.precision,
        "initial weights": digest(model.state_dict()),
        "data.train": contents(task.train),
        "data.test": contents(task.test),
    }


def _place(
    training: Training, device: torch.device, stored: Mapping[str, Any] | None
) -> dict[str, str]:
    """Where a run computes; operations that are split over other threads have other last bits."""
    threads: Any = training.compute.threads
    if threads == "auto" and stored is not None:
        threads = stored["place"]["threads"]
    elif threads == "auto":
        threads = lanes(device, len(os.sched_getaffinity(0)))
    return {
        "device": device.type,
        "hardware": hardware(device),
        "torch": str(torch.__version__),
        "threads": str(threads),
    }


def _told(row: Mapping[str, float]) -> str:
    """An epoch's row, but for its number."""
    told = [
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in row.items()
        if name not in ("epoch", "seconds")
    ]
    return ", ".join([*told, f"{row['seconds']:.3g} s"])

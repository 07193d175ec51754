"""Trains the digits network by SGD and by Adam, and keeps a checkpoint of every epoch.

    python jobs/digits_trajectory.py
    lossgrid run jobs/digits-trajectory.yaml

Both begin with the same weights. SGD's learning rate drops to a tenth twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lossgrid.data import digits
from lossgrid.models import digits_cnn

BATCH_SIZE = 16
FOLDER = Path(__file__).resolve().parent.parent / "out" / "digits-trajectory"


def main(folder: Path = FOLDER, epochs: int = 30) -> None:
    """Write <folder>/<optimizer>/epoch-<n>.pt, n from 0 (not trained) to `epochs`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    initial = digits_cnn().state_dict()
    drops = [epochs // 2, 3 * epochs // 4]
    train(
        folder / "sgd",
        initial,
        epochs,
        drops,
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4),
    )
    train(
        folder / "adam",
        initial,
        epochs,
        [],
        lambda model: torch.optim.Adam(model.parameters(), lr=0.005),
    )


def train(
    folder: Path,
    initial: dict[str, torch.Tensor],
    epochs: int,
    drops: list[int],
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
) -> None:
    """Train from the initial weights; after `drops` epochs the rate falls to a tenth."""
    model = digits_cnn()
    model.load_state_dict(initial)
    optimizer = optimizer_of(model)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, gamma=0.1)
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in range(epochs + 1):
        learning_rate = optimizer.param_groups[0]["lr"]
        if epoch > 0:
            train_epoch(model, optimizer, epoch)
            schedule.step()
        facts = {"epoch": epoch, "learning_rate": learning_rate, "state_dict": model.state_dict()}
        torch.save(facts, folder / f"epoch-{epoch}.pt")


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """All training digits once, in an order of the epoch's own."""
    split = digits(train=True)
    images, labels = split.batch(0, len(split), torch.float32)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(epoch))
    model.train()
    for batch in order.split(BATCH_SIZE):
        optimizer.zero_grad()
        F.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))

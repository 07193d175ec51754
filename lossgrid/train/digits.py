"""The recipe of the embedded default job."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from lossgrid.data import digits as digits_split

EPOCHS = 15
BATCH_SIZE = 64


def digits(model: nn.Module) -> None:
    """Train ``model`` in place on the training digits, in a few seconds on a CPU.

    Adam with a one-cycle learning rate. The order of the samples comes from a generator of its
    own, and one thread computes, so the result depends on the model's initial weights alone.

    Args:
        model: maps (n, 1, 8, 8) float32 images to (n, 10) logits.
    """
    threads = torch.get_num_threads()
    # Threads gain nothing on layers this small, and lose much where other ranks use the cores.
    torch.set_num_threads(1)
    try:
        _train(model)
    finally:
        torch.set_num_threads(threads)
    model.eval()


def _train(model: nn.Module) -> None:
    split = digits_split(train=True)
    images, labels = split.batch(0, len(split), torch.float32)
    generator = torch.Generator().manual_seed(0)
    starts = range(0, len(split) - BATCH_SIZE + 1, BATCH_SIZE)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, total_steps=EPOCHS * len(starts)
    )
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(split), generator=generator)
        for start in starts:
            batch = order[start : start + BATCH_SIZE]
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(images[batch]), labels[batch]))
            optimizer.step()
            schedule.step()

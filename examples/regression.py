"""The landscape of a regression: a perceptron that learns a sine, and how far it errs at worst.

    python examples/regression.py

Metrics are functions like losses: outputs and targets of n samples in, n numbers out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lossgrid


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A perceptron after a second of training, with its data."""
    torch.manual_seed(0)
    inputs = torch.linspace(-3, 3, 200)[:, None]
    targets = inputs.sin()
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(500):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    return model, inputs, targets


def deviation(outputs: Tensor, targets: Tensor) -> Tensor:
    """How far a prediction is off, whatever the direction."""
    return (outputs - targets).abs()[:, 0]


if __name__ == "__main__":
    model, inputs, targets = trained()
    surface = lossgrid.landscape(
        model, (inputs, targets), loss="mse", metrics={"deviation": deviation}, points=41
    )
    print(surface)
    print(surface.minimum("train_loss"), surface.minimum("train_deviation"))
    surface.save("out/regression.png", columns=("train_loss", "train_deviation"))
    print("figure: out/regression.png")

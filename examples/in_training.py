"""A landscape after every second epoch of a training with Lightning.

pip install lightning
python examples/in_training.py
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lossgrid.lightning import LandscapeCallback


class Classifier(LightningModule):
    """A perceptron on points in the plane, of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of inputs (n, 2)."""
        return self.layers(inputs)

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        """The loss of a batch."""
        inputs, labels = batch
        return nn.functional.cross_entropy(self(inputs), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=0.5)


if __name__ == "__main__":
    torch.manual_seed(0)
    inputs = torch.randn(400, 2)
    data = TensorDataset(inputs, (inputs.norm(dim=1) > 1).long())
    watching = LandscapeCallback(data, every=2, folder="out/in-training", points=21)
    trainer = Trainer(max_epochs=6, callbacks=[watching], accelerator="cpu", logger=False)
    trainer.fit(Classifier(), DataLoader(data, batch_size=32, shuffle=True))
    for surface in watching.surfaces:
        print(surface.path.name, surface.minimum())

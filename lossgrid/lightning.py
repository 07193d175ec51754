"""Landscapes while Lightning trains: a callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lossgrid.errors import UserError

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise UserError(
        f"needs lightning, which does not load ({error}): pip install 'lossgrid[lightning]'"
    ) from error

from lossgrid.api import Surface, landscape


class LandscapeCallback(Callback):
    """Computes the landscape around the weights at the end of every n-th training epoch.

    Directions are those of one seed, but of the length of the weights of their epoch. On several
    devices the first process computes; the others wait for it at Lightning's next barrier.

    Args:
        data: see `lossgrid.landscape`.
        every: epochs from one landscape to the next.
        folder: holds a file an epoch, such as epoch-002.vtkhdf.
        **settings: of `lossgrid.landscape`.

    Attributes:
        surfaces: those computed so far.
    """

    def __init__(
        self, data: Any, *, every: int = 1, folder: str | Path = "out", **settings: Any
    ) -> None:
        if every < 1:
            raise UserError(f"LandscapeCallback: every is {every}, expected 1 or more epochs")
        self._data = data
        self._every = every
        self._folder = Path(folder)
        self._settings = {"progress": False, "overwrite": True, **settings}
        self.surfaces: list[Surface] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called by Lightning."""
        epoch = trainer.current_epoch + 1
        if epoch % self._every or not trainer.is_global_zero:
            return
        output = self._folder / f"epoch-{epoch:03}.vtkhdf"
        # A module that is attached to its trainer can't be copied on its own.
        pl_module.trainer = None
        try:
            self.surfaces.append(landscape(pl_module, self._data, output=output, **self._settings))
        finally:
            pl_module.trainer = trainer

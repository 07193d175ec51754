"""The folder of a training run: checkpoints, the table of its epochs, and what resumes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossgrid.errors import StorageError, UserError, summary
from lossgrid.problem import read_content, save_checkpoint
from lossgrid.store.disk import reason
from lossgrid.store.metrics import Row, write_metrics


class RunFolder:
    """Files of a training run. Each is written whole or not at all.

    epoch-<n>.pt: the weights after n epochs, and with which learning rate they were reached.
    resume.pt: what the next epoch needs; it counts an epoch only after that one's checkpoint is
        there. It holds the table's rows as well.
    metrics.csv: the table, written anew after each epoch, and when a run is resumed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._resume = path / "resume.pt"
        self.metrics = path / "metrics.csv"

    def clear(self) -> None:
        """Remove what a run has written, what it needs to be resumed first."""
        for file in (self._resume, *self._path.glob("epoch-*.pt"), self.metrics):
            file.unlink(missing_ok=True)

    def check_new(self) -> None:
        """Check that no other run's checkpoints would lie among those of a new one.

        Raises:
            UserError: there are some.
        """
        # A run that was killed right at its start leaves its initial weights.
        others = {*self._path.glob("epoch-*.pt")} - {self.checkpoint(0)}
        if others:
            raise UserError(
                f"{self._path}: has checkpoints ({min(others).name}) but no resume.pt to go on "
                "from: set another 'output', or remove them with --overwrite"
            )

    def checkpoint(self, epoch: int) -> Path:
        """Where the weights after an epoch lie."""
        return self._path / f"epoch-{epoch}.pt"

    def read(self) -> dict[str, Any] | None:
        """What `save` has kept; None if there is nothing.

        Raises:
            UserError: it can't be read.
        """
        if not self._resume.exists():
            return None
        try:
            content = read_content(self._resume)
            known = {"facts", "place", "rows", "snapshot"}
            if not known <= content.keys():
                raise ValueError(f"it lacks {', '.join(sorted(known - content.keys()))}")
        except (UserError, AttributeError, ValueError) as error:
            raise UserError(
                f"{self._resume}: can't be resumed from ({summary(error)}): copy it back, or "
                "start anew with --overwrite"
            ) from None
        return dict(content)

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep what a resumed run needs: facts, place, rows and snapshot."""
        save_checkpoint(content, self._resume)

    def save_checkpoint(self, content: Mapping[str, Any], epoch: int) -> None:
        """Write the weights after an epoch."""
        save_checkpoint(content, self.checkpoint(epoch))

    def save_metrics(self, rows: Sequence[Row]) -> None:
        """Write the table, if it has rows.

        Raises:
            StorageError: the disk does not take it.
        """
        try:
            if rows:
                write_metrics(rows, self.metrics)
        except OSError as error:
            raise StorageError(
                f"{self.metrics}: can't be written: {reason(error)}; free some space and run the "
                "same command again"
            ) from error

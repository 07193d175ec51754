"""What follows the points, in a file: true values of checkpoints, probes of spectra."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lossgrid.run import trajectories
from lossgrid.store.results import Results


def checkpoints(results: Results) -> NDArray[np.uint8]:
    """The status of the checkpoints of all trajectories: shape (n,)."""
    empty = np.empty(0, np.uint8)
    return np.concatenate([empty, *(one.status for one in results.trajectories.values())])


def probes(results: Results) -> NDArray[np.uint8]:
    """The status of the probes of all spectra: shape (n,)."""
    spectra = results.spectra
    return np.empty(0, np.uint8) if spectra is None else spectra.status.ravel()


def both(results: Results) -> NDArray[np.uint8]:
    """The status of all checkpoints and probes: shape (n,)."""
    return np.concatenate([checkpoints(results), probes(results)])


def told(results: Results) -> list[str]:
    """Sentences on all of it."""
    return [*trajectories.told(results), *filter(None, [spectra_told(results)])]


def spectra_told(results: Results) -> str | None:
    """A sentence on probes that have no numbers; none if there are no such."""
    lacking = results.spectra.lacking() if results.spectra else {}
    said = ", ".join(f"{count} probes {why}" for why, count in lacking.items())
    return f"spectrum: {said}" if said else None

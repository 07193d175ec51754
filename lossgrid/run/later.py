"""What follows the points, in a file: true values of checkpoints, probes of spectra."""

from __future__ import annotations

from lossgrid.run import trajectories
from lossgrid.store.results import Results


def count(results: Results, status: int) -> int:
    """How many checkpoints and probes have a status."""
    return checkpoints(results, status) + probes(results, status)


def checkpoints(results: Results, status: int) -> int:
    """How many checkpoints have a status."""
    return sum(int((t.status == status).sum()) for t in results.trajectories.values())


def probes(results: Results, status: int) -> int:
    """How many probes of spectra have a status."""
    spectra = results.spectra
    return 0 if spectra is None else int((spectra.status == status).sum())


def told(results: Results) -> list[str]:
    """Sentences on all of it."""
    return [*trajectories.told(results), *filter(None, [spectra_told(results)])]


def spectra_told(results: Results) -> str | None:
    """A sentence on probes that have no numbers; none if there are no such."""
    lacking = results.spectra.lacking() if results.spectra else {}
    said = ", ".join(f"{count} probes {why}" for why, count in lacking.items())
    return f"spectrum: {said}" if said else None

"""The probes of spectra, which are computed after the points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import PENDING
from lossgrid.job import Job
from lossgrid.run.rounds import Rounds
from lossgrid.store.amend import write_spectra
from lossgrid.store.log import RunLog
from lossgrid.store.results import Results
from lossgrid.store.spectra import Spectra


class Probe(NamedTuple):
    """One at a place, by the place's number among those that are asked for, and its own there."""

    place: int
    number: int
    alpha: float
    beta: float


def no_spectra(job: Job, parameters: int) -> Spectra | None:
    """Room for the spectra that a job asks for, if it does.

    Args:
        job: what is asked for.
        parameters: that the Hessian is by.
    """
    if job.curvature is None or job.curvature.spectrum is None:
        return None
    asked = job.curvature.spectrum
    places = np.array(asked.points, np.float64)
    probes = (len(places), asked.probes)
    unknown = np.full((*probes, 2, asked.iterations), np.nan)
    return Spectra(
        alpha=places[:, 0],
        beta=places[:, 1] if job.grid.beta else None,
        nodes=dict.fromkeys(job.curvature.splits_of(job.data), unknown),
        status=np.full(probes, PENDING, np.uint8),
        parameters=parameters,
    )


def probes(
    results: Results, say: Callable[[str], None]
) -> Rounds[Probe, dict[str, NDArray[np.float64]]]:
    """Those that are pending or have failed; what is found are nodes of each split.

    Args:
        results: the file; all ranks have closed it.
        say: shows a line.
    """
    log = RunLog(results.path)
    spectra = results.spectra

    def write(found: Mapping[Probe, dict[str, NDArray[np.float64]] | None]) -> None:
        write_spectra(results, {(p.place, p.number): nodes for p, nodes in found.items()})

    def fail(probe: Probe, error: str) -> None:
        place = f"({probe.alpha:g}, {probe.beta:g})"
        say(f"spectrum at {place} lacks probe {probe.number}: {error}")
        log.event("spectrum failed", place=place, probe=probe.number, error=error)

    unfinished = spectra.unfinished if spectra else []
    pieces = [Probe(place, n, *spectra.place(place)) for place, n in unfinished if spectra]
    return Rounds(pieces, write, fail)

"""How a run ends: its exit status, what it says last, its first figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lossgrid.engine.messages import FAILED, INTERPOLATED, PENDING
from lossgrid.exits import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.run import epochs, later, precision
from lossgrid.store.amend import mark_complete
from lossgrid.store.results import Results
from lossgrid.store.samples import samples_path


def conclude(
    results: Results, unfinished: bool, sampled: Mapping[str, int], say: Callable[[str], None]
) -> int:
    """Say what came of a run, and where it is.

    Args:
        results: the file; all ranks have closed it.
        unfinished: work was left, to be done or tried again.
        sampled: how many samples those splits have of which points use some.
        say: shows a line.

    Returns: the exit status.
    """
    where = _near(results.path)
    failed = results.count(FAILED)
    if unfinished:
        left = results.count(PENDING)
        again = f" and {failed} failed" if failed else ""
        before = "" if left else ", with work left that comes after them"
        say(
            f"stopped with {left} of {results.points} points pending{again}{before}; "
            f"all others are in {where}: run the same command again to go on"
        )
        return UNFINISHED
    if failures := _failures(results, failed):
        say(f"{failures}; all else is in {where}: the same command tries that again")
        return SOME_FAILED
    mark_complete(results.path)
    samples_path(results.path).unlink(missing_ok=True)
    say(f"complete: {where} (opens in ParaView as it is)")
    if interpolated := results.count(INTERPOLATED):
        say(f"          {interpolated} of {results.points} points interpolated")
    for split, population in sampled.items():
        share = results.values[f"{split}_samples"].mean() / population
        say(f"          {split}: from {share:.1%} of all evaluations of a sample")
    facts = [epochs.told(results), precision.told(results)]
    for said in [*filter(None, facts), *later.told(results)]:
        say(f"          {said}")
    if odd := results.not_finite():
        counts = ", ".join(f"{count} of {name}" for name, count in odd.items())
        say(f"          not finite: {counts}, of {results.points} values each")
    return COMPLETE


def draw(results: Results, say: Callable[[str], None]) -> None:
    """Draw the first figure of a complete file, and say what to type next."""
    figure = results.path.with_suffix(".png")
    try:
        from lossgrid.view.figures.options import Options
        from lossgrid.view.figures.plot import plot

        plot(results, figure, Options())
        say(f"figure:   {_near(figure)}")
    except Exception as error:  # the results are there all the same
        say(f"no figure: {error}")
    say(f"next:     lossgrid status {_near(results.path)}")
    say(f"          lossgrid plot {_near(results.path)} --output figure.pdf")


def _failures(results: Results, points: int) -> str:
    """What has failed, in words: so many points, and what follows them."""
    counts = {
        "points failed" + _first(results): points,
        "checkpoints have no true values": np.count_nonzero(later.checkpoints(results) == FAILED),
        "probes of spectra are missing": np.count_nonzero(later.probes(results) == FAILED),
    }
    return "; ".join(f"{count} {what}" for what, count in counts.items() if count)


def _first(results: Results) -> str:
    """The first failure that has a message."""
    for point, message in results.errors().items():
        return f", at {results.place(point)} with: {message}"
    return ""


def _near(path: Path) -> str:
    """A path as a user in the current folder would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

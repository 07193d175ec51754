"""`lossgrid status`: how far a results file is."""

from __future__ import annotations

import time
from pathlib import Path

from lossgrid import precision
from lossgrid.engine.messages import DONE, FAILED, INTERPOLATED
from lossgrid.progress import clock
from lossgrid.store.lock import is_alive, read_holder
from lossgrid.store.log import RunLog
from lossgrid.store.results import Results, read_results


def status(path: Path) -> str:
    """Text that says progress, rate, remaining time and failures; right also during a run.

    Raises:
        UserError: the file can't be read.
    """
    results = read_results(path)
    total = results.points
    done, failed = results.count(DONE), results.count(FAILED)
    interpolated = results.count(INTERPOLATED)
    settled = done + interpolated
    said = f", {interpolated} of them interpolated" if interpolated else ""
    lines = [
        f"{path}: {settled} of {total} points done{said} ({settled / total:.1%}), {failed} failed"
    ]
    lines.append(_pace(results, settled, failed))
    if compared := precision.told(results):
        lines.append(compared)
    messages = results.errors()
    shown = list(messages.items())[:5]
    lines += [f"  at {results.place(point)}: {text}" for point, text in shown]
    if failed > len(shown):
        lines.append(f"  and {failed - len(shown)} more")
    return "\n".join(lines)


def _pace(results: Results, done: int, failed: int) -> str:
    """Who is at work and how fast, or what the last run came to."""
    holder = read_holder(results.path)
    if holder is None or not is_alive(holder):
        if failed:
            return "no run is at work; the same 'lossgrid run JOB' tries the failed points again"
        if done == results.points:
            return "finished"
        return "no run is at work; 'lossgrid run JOB' goes on"
    at_work = f"running on {holder['host']} (process {holder['pid']})"
    starts = [e for e in RunLog(results.path).events() if e["event"] == "start"]
    if not starts or starts[-1]["time"] < holder["began"]:
        return f"{at_work}: loading, nothing computed yet"
    start = starts[-1]
    stored = done + failed
    rate = (stored - start["done"]) / max(time.time() - start["time"], 1e-9)
    left = clock((results.points - stored) / rate) if rate > 0 else "unknown"
    ranks = "1 rank" if start["ranks"] == 1 else f"{start['ranks']} ranks"
    return f"{at_work} with {ranks}: {rate:.3g} points/s, {left} left"

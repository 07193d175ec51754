"""`lossgrid status`: how far a results file is."""

from __future__ import annotations

import time
from pathlib import Path

from lossgrid.engine.messages import DONE, FAILED
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
    lines = [f"{path}: {done} of {total} points done ({done / total:.1%}), {failed} failed"]
    lines.append(_pace(results, done + failed))
    messages = results.errors()
    lines += [f"  point {point}: {text}" for point, text in list(messages.items())[:5]]
    if failed > len(messages):
        lines.append(f"  and {failed - len(messages)} failures whose message found no room")
    return "\n".join(lines)


def _pace(results: Results, stored: int) -> str:
    """Who is at work and how fast, or what the last run came to."""
    holder = read_holder(results.path)
    if holder is None or not is_alive(holder):
        if stored == results.points:
            return "finished"
        return "no run is at work; 'lossgrid run JOB' goes on"
    at_work = f"running on {holder['host']} (process {holder['pid']})"
    starts = [e for e in RunLog(results.path).events() if e["event"] == "start"]
    if not starts or starts[-1]["time"] < holder["began"]:
        return f"{at_work}: loading, nothing computed yet"
    start = starts[-1]
    rate = (stored - start["done"]) / max(time.time() - start["time"], 1e-9)
    left = clock((results.points - stored) / rate) if rate > 0 else "unknown"
    return f"{at_work} with {start['ranks']} ranks: {rate:.3g} points/s, {left} left"

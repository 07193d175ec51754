"""`lossgrid histogram`: how the weights of checkpoints are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.problem.checkpoint import read_checkpoint
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.sheet import add_legend, sheet

_BINS = 200
_BEYOND = 0.0005


def histogram(checkpoints: Sequence[Path], output: Path, options: Options) -> str:
    """Draw how many weights have which value, for each checkpoint, in bins that all share.

    Weights are those of convolutions and linear layers: tensors with two or more dimensions, so
    neither biases nor anything of BatchNorm. As Figure 3 of Li et al. (arXiv:1712.09913). The axis
    holds all of them where counts are logarithmic, else 99.9 % of each checkpoint's.

    Args:
        checkpoints: as `lossgrid.problem.checkpoint.read_checkpoint` reads them.
        output: a .png, .pdf or .svg file.
        options: style and size; `logarithmic` counts.

    Returns: what was written and what is not finite, for people.

    Raises:
        UserError: a checkpoint can't be read or has no finite weights, or the file can't be
            written.
    """
    weights = {name: _weights(path) for name, path in _names(checkpoints).items()}
    finite = {name: values[np.isfinite(values)] for name, values in weights.items()}
    for name, values in finite.items():
        if values.size == 0:
            raise UserError(f"{name}: has no finite weights of two or more dimensions to count")
    with sheet(output, options) as figure:
        _draw(figure, finite, logarithmic=bool(options.logarithmic))
    lost = {name: values.size - finite[name].size for name, values in weights.items()}
    gaps = [f"{name}: {count} weights not finite" for name, count in lost.items() if count]
    return "\n".join([str(output), *gaps])


def _names(checkpoints: Sequence[Path]) -> dict[str, Path]:
    """Files by as little of the ends of their paths as tells them apart."""
    parts = [path.with_suffix("").parts for path in checkpoints]
    names: dict[str, Path] = {}
    for length in range(1, max(map(len, parts)) + 1):
        ends = ("/".join(part[-length:]) for part in parts)
        names = dict(zip(ends, checkpoints, strict=True))
        if len(names) == len(checkpoints):
            break
    return names


def _weights(path: Path) -> NDArray[np.float32]:
    tensors = read_checkpoint(path).values()
    taken = [t.float().numpy().ravel() for t in tensors if t.ndim >= 2 and t.is_floating_point()]
    return np.concatenate([np.empty(0, np.float32), *taken])


def _draw(figure: Figure, weights: dict[str, NDArray[np.float32]], *, logarithmic: bool) -> None:
    axes = figure.add_subplot()
    beyond = 0.0 if logarithmic else _BEYOND
    ends = [np.quantile(values, [beyond, 1 - beyond]) for values in weights.values()]
    edges = np.histogram_bin_edges(np.empty(0), _BINS, (float(np.min(ends)), float(np.max(ends))))
    for number, (name, values) in enumerate(weights.items()):
        counts, _ = np.histogram(values, edges)
        label = f"{name}: {values.size:,} weights, std {values.std(dtype=np.float64):.3g}"
        axes.stairs(counts, edges, color=f"C{number}", fill=len(weights) == 1, label=label)
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set(xlabel="weight", ylabel="number of weights", xlim=(edges[0], edges[-1]))
    axes.grid(axis="y")
    add_legend(figure, axes.patches)

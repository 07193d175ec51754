"""`lossgrid convergence`: how training runs went, and how they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lossgrid.errors import UserError
from lossgrid.store.metrics import read_metrics
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.sheet import add_legend, sheet

Rows = Sequence[Mapping[str, float]]

_DASHES = {"train": "-", "test": "--"}


def convergence(runs: Sequence[Path], output: Path, options: Options) -> str:
    """Draw the errors of training runs by epoch, train solid and test dashed.

    As Figures 14 and 15 of Li et al. (arXiv:1712.09913). An error is the share in percent that
    accuracy leaves; runs whose tables have no accuracy are drawn by their losses.

    Args:
        runs: folders of `lossgrid train`, or their metrics.csv.
        output: a .png, .pdf or .svg file.
        options: style and size; `logarithmic` values.

    Returns: what was written, and a table of how each run ended, for people.

    Raises:
        UserError: a table can't be read, or the file can't be written.
    """
    tables = {name: read_metrics(path) for name, path in _names(runs).items()}
    metric = _common_metric(tables)
    with sheet(output, options) as figure:
        axes = figure.add_subplot()
        for number, (name, rows) in enumerate(tables.items()):
            _draw(axes, name, rows, metric, f"C{number}")
        axes.set(xlabel="epoch", ylabel="error (%)" if metric == "accuracy" else metric)
        if options.logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        splits = [Line2D([], [], color="k", ls=dashes, label=s) for s, dashes in _DASHES.items()]
        add_legend(figure, [*(line for line in axes.lines if line.get_label() in tables), *splits])
    return "\n".join([str(output), *_endings(tables)])


def _names(runs: Sequence[Path]) -> dict[str, Path]:
    """Tables by the names of their folders, where these tell them apart."""
    files = [run / "metrics.csv" if run.is_dir() else run for run in runs]
    folders = {file.absolute().parent.name: file for file in files}
    return folders if len(folders) == len(files) else {str(file): file for file in files}


def _common_metric(tables: Mapping[str, Rows]) -> str:
    """Of which all tables have both splits."""
    shared = set.intersection(*(set(rows[0]) for rows in tables.values()))
    for metric in ("accuracy", "loss"):
        if {f"train_{metric}", f"test_{metric}"} <= shared:
            return metric
    raise UserError("the tables have neither accuracy nor loss of both splits in common")


def _draw(axes: Axes, name: str, rows: Rows, metric: str, colour: str) -> None:
    epochs = [row["epoch"] for row in rows]
    marker = "." if len(rows) == 1 else ""
    for split, dashes in _DASHES.items():
        values = [_shown(row[f"{split}_{metric}"], metric) for row in rows]
        label = name if split == "train" else "_"
        axes.plot(epochs, values, dashes, color=colour, label=label, marker=marker)


def _shown(value: float, metric: str) -> float:
    return 100 * (1 - value) if metric == "accuracy" else value


def _endings(tables: Mapping[str, Rows]) -> list[str]:
    """Lines of a table: a run each, with the values of its last epoch."""
    names = dict.fromkeys(name for rows in tables.values() for name in rows[0])
    metrics = [name for name in names if name not in ("epoch", "learning_rate", "seconds")]
    titles = [name.replace("accuracy", "error").replace("_", " ") for name in metrics]
    lines = [["run", "epochs", *titles]]
    for name, rows in tables.items():
        last = rows[-1]
        cells = [_cell(metric, last.get(metric)) for metric in metrics]
        lines.append([name, f"{last['epoch']:.0f}", *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * (1 - value):.2f} %" if metric.endswith("accuracy") else f"{value:.4g}"

"""The measures of several files, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lossgrid.measure.measures import Options, measures
from lossgrid.store.results import read_results
from lossgrid.view.snapshot import Snapshot, choose_column

Row = Mapping[str, str | float | None]


def report(files: Sequence[Path], column: str | None, options: Options, form: str) -> str:
    """Measure files.

    Args:
        files: results files.
        column: whose surface; by default test_loss, else the first loss.
        options: see `Options`.
        form: text (a line a measure, a column a file), csv or json (a row or object a file).

    Raises:
        UserError: a file can't be read or measured.
    """
    rows = [_row(file, column, options) for file in files]
    return {"text": _text, "csv": _csv, "json": _json}[form](rows)


def _row(file: Path, column: str | None, options: Options) -> Row:
    results = read_results(file)
    chosen = choose_column(results, column)
    snapshot = Snapshot.of(results, chosen, [chosen])
    missing = float((~(abs(snapshot.values) < float("inf"))).sum())
    found = measures(snapshot, options)
    return {"file": str(file), "column": chosen, "missing": missing, **found}


def _names(rows: Sequence[Row]) -> list[str]:
    """Those of all rows, in order: a line has fewer than a plane."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _text(rows: Sequence[Row]) -> str:
    cells = [[name, *(_shown(row.get(name)) for row in rows)] for name in _names(rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _shown(value: str | float | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, _names(rows), restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().rstrip()


def _json(rows: Sequence[Row]) -> str:
    return json.dumps(rows, indent=2)

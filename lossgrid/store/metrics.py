"""The table of a training run: one row an epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from lossgrid.durable import durable
from lossgrid.errors import UserError, summary

Row = Mapping[str, float]


def write_metrics(rows: Sequence[Row], path: Path) -> None:
    """Write all rows of a table, a .csv file, whole or not at all.

    Raises:
        OSError: the disk does not take it.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=[*rows[0]])
    writer.writeheader()
    writer.writerows(rows)
    with durable(path) as file:
        file.write(text.getvalue().encode())


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a table that `write_metrics` has written.

    Raises:
        UserError: if there is no such file, or it is none of a training run.
    """
    try:
        with path.open(newline="") as file:
            rows = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    except Exception as error:  # another file can raise anything
        raise UserError(f"{path}: is no table of a training run ({summary(error)})") from None
    if not rows or "epoch" not in rows[0]:
        raise UserError(f"{path}: is no table of a training run: it has no column epoch")
    return rows

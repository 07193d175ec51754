"""What rank 0 stores of the points that others have computed."""

from __future__ import annotations

from collections.abc import Mapping

from lossgrid.engine.messages import Result
from lossgrid.store import layout
from lossgrid.store.writer import PointWriter


class CoordinatorSink:
    """Rank 0's side: points that workers have sent, and the messages of all failures.

    Args:
        writer: of the file.
        error_rows: `Results.error_rows` of it.
    """

    def __init__(self, writer: PointWriter, error_rows: Mapping[int, int]) -> None:
        self._writer = writer
        self._errors = ErrorTable(writer, error_rows)

    def write(self, results: list[Result]) -> None:
        """Store what came with values, and all messages.

        A point's message comes before its status, unless its worker has stored that already.
        """
        self._errors.write([error for result in results for error in result.errors])
        self._writer.write(results)


class ErrorTable:
    """The bounded table of failed points' messages: a row each, the latest message of a point.

    Args:
        writer: of the file.
        rows: which row each point has that failed in an earlier run and is not done since.
    """

    def __init__(self, writer: PointWriter, rows: Mapping[int, int]) -> None:
        self._writer = writer
        self._rows = dict(rows)
        taken = set(rows.values())
        self._free = (row for row in range(layout.ERROR_ROWS) if row not in taken)

    def write(self, errors: list[tuple[int, str]]) -> None:
        """Store (point, message) pairs as far as there is room."""
        placed: dict[int, tuple[int, str]] = {}
        for point, message in errors:
            row = self._rows.get(point)
            if row is None:
                row = next(self._free, None)
            if row is not None:
                self._rows[point] = row
                placed[row] = (point, message)
        if placed:
            self._writer.write_errors(placed)

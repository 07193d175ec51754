from __future__ import annotations

import pytest

from lossgrid.errors import summary


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (ValueError("bad \udcff name"), "ValueError: bad \\udcff name"),
        (UnspeakableError(), "UnspeakableError: (its message raises ZeroDivisionError)"),
        (SystemExit(4), "SystemExit: 4"),
    ],
)
def test_any_exception_is_told_in_one_line(error: BaseException, line: str) -> None:
    assert summary(error) == line


def test_summary_is_bounded() -> None:
    assert len(summary(ValueError("x" * 10_000))) < 400

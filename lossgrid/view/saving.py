"""Writing a file for viewers, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lossgrid.errors import UserError


@contextmanager
def whole(output: Path) -> Iterator[Path]:
    """A temporary name to write under, which becomes `output` when all is written.

    Makes the folder if there is none. Raises UserError for an OSError within.
    """
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{output}: can't be written: {error.strerror or error}") from None

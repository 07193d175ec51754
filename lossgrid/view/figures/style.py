"""How figures look: lossgrid's own settings of matplotlib, and a user's above them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import matplotlib
from matplotlib import RcParams

from lossgrid.errors import UserError, summary


@contextmanager
def styled(style: Path | None) -> Iterator[None]:
    """Draw within with lossgrid's style, and a user's `style` file where it differs.

    Raises:
        UserError: the user's file can't be read, or holds what is not a setting.
    """
    with as_file(files(__package__) / "lossgrid.mplstyle") as ours, matplotlib.rc_context():
        for path in filter(None, [ours, style]):
            matplotlib.rcParams.update(_settings(path))
        yield


def _settings(path: Path) -> RcParams:
    complaints = _Complaints()
    log = logging.getLogger("matplotlib")
    propagates, log.propagate = log.propagate, False
    log.addHandler(complaints)
    try:
        settings = matplotlib.rc_params_from_file(
            path, fail_on_error=True, use_default_template=False
        )
    except OSError as error:
        raise UserError(f"--style {path}: can't be read: {error.strerror or error}") from None
    except Exception as error:  # whatever the setting's own check raises
        raise UserError(f"--style {path}: {summary(error)}") from None
    finally:
        log.removeHandler(complaints)
        log.propagate = propagates
    if complaints.said:
        raise UserError(f"--style {path}: {complaints.said[0]}")
    return settings


class _Complaints(logging.Handler):
    """What matplotlib only logs: keys that it does not know, lines that are no settings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first line."""
        self.said.append(record.getMessage().strip().splitlines()[0])

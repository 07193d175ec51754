from __future__ import annotations

import logging
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lossgrid.errors import UserError
from lossgrid.view.figures.style import styled


def lightness(colours: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """CIE L* of colours of shape (n, 3): what is left of them in grey print."""
    rgb = np.asarray(colours, np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16)


def test_colours_print_in_grey() -> None:
    with styled(None):
        along = matplotlib.colormaps[matplotlib.rcParams["image.cmap"]](np.linspace(0, 1, 64))
        cycle = [one["color"] for one in matplotlib.rcParams["axes.prop_cycle"]]
    assert (np.diff(lightness(along[:, :3])) > 0.5).all()
    first = np.sort(lightness([to_rgb(colour) for colour in cycle[:4]]))
    assert np.diff(first).min() > 15


def test_a_users_style_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    style = tmp_path / "mine.mplstyle"
    style.write_text("image.cmap: cividis  # mine\n")
    before = dict(matplotlib.rcParams)
    with styled(style):
        assert matplotlib.rcParams["image.cmap"] == "cividis"
        assert matplotlib.rcParams["pdf.fonttype"] == 42
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("image.cmpa: cividis", "Bad key image.cmpa"),
        ("font.size: huge", "ValueError: .*font.size"),
        ("viridis", "Missing colon"),
        (b"\xff\xfe\x00", "UnicodeDecodeError"),
        (None, "can't be read: No such file"),
    ],
)
def test_a_bad_style_is_told(content: str | bytes | None, reason: str, tmp_path: Path) -> None:
    style = tmp_path / "mine.mplstyle"
    if content is not None:
        style.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=rf"--style .*mine\.mplstyle: {reason}"), styled(style):
        pass
    assert logging.getLogger("matplotlib").propagate

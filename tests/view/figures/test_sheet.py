from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lossgrid.errors import UserError
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plot import plot
from tests.view.figures.looking import SVG, plotted
from tests.view.landscapes import BETA, BOWL, plane, trajectory

MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".PNG"])
def test_the_suffix_chooses_the_format_and_the_same_figure_is_the_same_file(
    suffix: str, tmp_path: Path
) -> None:
    output = tmp_path / "new" / f"bowl{suffix}"
    assert plot(plane(), output, Options()) == str(output)
    content = output.read_bytes()
    assert content.startswith(MAGIC[suffix.lower()])
    assert os.listdir(output.parent) == [output.name]
    plot(plane(), output, Options())
    assert output.read_bytes() == content


def test_the_size_is_that_of_a_column_or_what_is_wanted(tmp_path: Path) -> None:
    square = plane(alpha=np.linspace(-1, 1, BOWL.shape[1]), beta=np.linspace(0, 2, BOWL.shape[0]))
    plot(square, tmp_path / "a.png", Options())
    assert imread(tmp_path / "a.png").shape[:2] == (840, 990)
    plot(plane(), tmp_path / "a.png", Options())  # 3 wide, 2 high
    assert imread(tmp_path / "a.png").shape[:2] == (686, 990)
    plot(plane(), tmp_path / "a.png", Options(size=(4, 3.5)))
    assert imread(tmp_path / "a.png").shape[:2] == (1050, 1200)


@pytest.mark.parametrize("height", [0.8, 1.05, 1.5])
@pytest.mark.parametrize("title", [True, False])
def test_labels_beside_low_axes_stay_on_the_sheet(
    height: float, title: bool, tmp_path: Path
) -> None:
    """The legend of many runs lifts the axes to the upper edge."""
    run = trajectory(alpha=np.linspace(-0.9, 1.9, 10), beta=np.linspace(0.1, 0.9, 10) * height)
    runs = {f"a run of many that has number {number}": run for number in range(3)}
    low = plane(beta=np.linspace(0, height, BETA.size), trajectories=runs)
    plot(low, tmp_path / "a.png", Options(title=title))
    picture = imread(tmp_path / "a.png")
    assert (picture[[0, 1, -2, -1]] == 1).all()


@pytest.mark.parametrize("kind", ["filled", "lines", "heat"])
def test_all_but_heat_maps_are_vectors(kind: str, tmp_path: Path) -> None:
    images = int(kind == "heat")
    drawing = plotted(plane(), tmp_path, Options(kind=kind))
    colour_bar = int(kind == "heat")  # a bar of continuous colours is an image too
    assert len(list(drawing.iter(f"{SVG}image"))) == images + colour_bar
    style = tmp_path / "plain.mplstyle"
    style.write_text("pdf.compression: 0")
    plot(plane(), tmp_path / "a.pdf", Options(kind=kind, style=style))
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert (b"/Subtype /Image" in pdf) == bool(images)
    assert (pdf.count(b" l\n") > 200) != bool(images)


def test_fonts_are_embedded_as_truetype(tmp_path: Path) -> None:
    plot(plane(), tmp_path / "a.pdf", Options())
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=": can't be written"):
        plot(plane(), tmp_path / "file" / "a.png", Options())
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="can't be written: Is a directory"):
        plot(plane(), tmp_path / "folder.png", Options())
    with pytest.raises(UserError, match=r"must end in one of \.png, \.pdf, \.svg, not in '\.jpg'"):
        plot(plane(), tmp_path / "a.jpg", Options())
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_a_size_without_room_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--size 0\.6 0\.5: leaves no room for the axes"):
        plot(plane(), tmp_path / "a.png", Options(size=(0.6, 0.5)))
    assert not list(tmp_path.iterdir())

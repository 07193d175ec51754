"""Exported files and scripts in a real ParaView, which must draw what they hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lossgrid.errors import UserError
from lossgrid.view.export import export, export_script
from lossgrid.view.relief import Look
from tests.absent import absent
from tests.view.landscapes import ALPHA, BETA, BOWL, Made, plane


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """An X server for ParaView, or the test is skipped where there is none of the two."""
    if not (shutil.which("pvbatch") and shutil.which("Xvfb")):
        absent("no pvbatch and Xvfb: `make system` installs them")
    told, tells = os.pipe()
    command = ["Xvfb", "-displayfd", str(tells), "-screen", "0", "1280x1024x24"]
    with subprocess.Popen(
        [*command, "-nolisten", "tcp", "-noreset"], pass_fds=[tells], stderr=subprocess.DEVNULL
    ) as server:
        os.close(tells)
        with os.fdopen(told) as answer:
            number = answer.readline().strip()
        yield f":{number}"
        server.kill()


def pvbatch(script: Path, display: str) -> str:
    # A crash inside ParaView can hang in its own signal handler: only SIGKILL ends it.
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(
        ["timeout", "-s", "KILL", "100", "pvbatch", str(script)],
        env={**os.environ, **root, "DISPLAY": display},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def picture(landscape: Made, folder: Path, display: str) -> np.ndarray:
    """The colours, shape (rows, columns, 3), that the script draws."""
    script = folder / "scripts" / "draw.py"
    export_script([landscape], folder / "a.vts", script, Look())
    pvbatch(script, display)
    pixels: np.ndarray = imread(script.with_suffix(".png"))[..., :3]
    assert pixels.shape == (1200, 1600, 3)
    return pixels


def share(pixels: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> float:
    """Share of the pixels whose colours lie between two."""
    return float(((pixels >= low) & (pixels <= high)).all(axis=-1).mean())


WHITE = ((0.99,) * 3, (1.0,) * 3)
RED = ((0.3, 0.0, 0.0), (1.0, 0.2, 0.2))


def test_the_script_draws_the_surface(tmp_path: Path, display: str) -> None:
    pixels = picture(plane(), tmp_path, display)
    assert 0.3 < share(pixels, *WHITE) < 0.8
    assert share(pixels, *RED) > 1e-5  # the marker
    assert share(pixels, (0.0, 0.2, 0.0), (0.2, 1.0, 1.0)) > 0.02  # the middle of the colours
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        "a-contours.vtp",
        "a.vts",
        "draw.png",
        "draw.py",
    ]


def test_what_is_missing_is_a_hole(tmp_path: Path, display: str) -> None:
    status = np.ones(BOWL.shape, np.uint8)
    status[4:13, 6:19] = 0
    values = np.where(status == 0, np.nan, BOWL)
    (tmp_path / "whole").mkdir()
    (tmp_path / "holed").mkdir()
    whole = picture(plane(), tmp_path / "whole", display)
    holed = picture(plane(values={"test_loss": values}, status=status), tmp_path / "holed", display)
    assert share(holed, *WHITE) > share(whole, *WHITE) + 0.03


def test_a_constant_surface_is_drawn(tmp_path: Path, display: str) -> None:
    flat = plane(values={"test_loss": np.full(BOWL.shape, 2.3)})
    pixels = picture(flat, tmp_path, display)
    assert 0.3 < share(pixels, *WHITE) < 0.9
    assert share(pixels, *RED) == 0
    assert not (tmp_path / "a-contours.vtp").exists()


READ = """
from paraview.simple import *
from paraview import servermanager
for name in {names!r}:
    reader = OpenDataFile(name)
    reader.UpdatePipeline()
    data = servermanager.Fetch(reader)
    values = data.GetPointData().GetArray("test_loss")
    x, y, _ = data.GetPoint({point})
    print(name[-3:], repr(x), repr(y), repr(values.GetValue({point})))
"""


def test_paraview_reads_every_format(tmp_path: Path, display: str) -> None:
    names = []
    for suffix in (".vts", ".vti", ".pvd"):
        export([plane()], tmp_path / f"a{suffix}", Look())
        names.append(str(tmp_path / f"a{suffix}"))
    row, column = 5, 7
    script = tmp_path / "read.py"
    script.write_text(READ.format(names=names, point=row * ALPHA.size + column))
    said = [line.split() for line in pvbatch(script, display).splitlines()]
    assert [kind for kind, *_ in said] == ["vts", "vti", "pvd"]
    for _, x, y, value in said:
        assert (float(x), float(y)) == pytest.approx((ALPHA[column], BETA[row]))
        assert float(value) == BOWL[row, column]


@pytest.mark.parametrize(
    ("landscape", "surface", "script", "told"),
    [
        (plane(), "a.vti", "a.py", "draws one surface, a .vts"),
        (plane(), "a.vts", "a.txt", "ends in .py"),
        (plane(beta=None, values={"test_loss": BOWL[0]}), "a.vts", "a.py", "made: is a line"),
    ],
)
def test_what_no_script_draws(
    landscape: Made, surface: str, script: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        export_script([landscape], tmp_path / surface, tmp_path / script, Look())
    assert not list(tmp_path.iterdir())


def test_a_script_that_is_not_told_where_it_lies(tmp_path: Path, display: str) -> None:
    """ParaView's window hands scripts to Python as text."""
    script = tmp_path / "draw.py"
    export_script([plane()], tmp_path / "a.vts", script, Look())
    caller = tmp_path / "elsewhere" / "caller.py"
    caller.parent.mkdir()
    caller.write_text(f"exec(open({str(script)!r}).read(), {{}})")
    pvbatch(caller, display)
    assert (tmp_path / "draw.png").is_file()


def test_names_are_no_code(tmp_path: Path, display: str) -> None:
    name = "a'\"\n$x {y} \\"
    column = "it's_\"loss"
    landscape = plane(name=name, values={column: BOWL})
    assert share(picture(landscape, tmp_path, display), *WHITE) < 0.9

"""Pictures of surfaces: what is where in them, and what is said where there can be none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lossgrid.errors import UserError
from lossgrid.run.steps import run
from lossgrid.view import studio
from lossgrid.view.compose import compose, photographed
from lossgrid.view.relief import Look
from lossgrid.view.render import Turn, render, render_turntable
from lossgrid.view.shot import Shot, parse_size
from tests.absent import absent
from tests.toy import toy_job
from tests.view.landscapes import ALPHA, BETA, BOWL, Made, plane
from tests.view.test_movie import read_back

SIZE = (160, 120)
CLEAR = Shot(size=SIZE, background=None)
TOP = replace(CLEAR, camera="top")
NO_LINES = Look(levels=())


@pytest.fixture(scope="module", autouse=True)
def opengl(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Something to draw with, or the tests are skipped where there is none."""
    try:
        render(plane(), tmp_path_factory.mktemp("first") / "a.png", Look(), CLEAR)
    except UserError as error:
        absent(str(error))


def picture(landscape: Made, folder: Path, shot: Shot, look: Look = NO_LINES) -> NDArray[np.uint8]:
    """Red, green, blue and alpha, shape (rows, columns, 4), the top row first."""
    output = folder / "a.png"
    render(landscape, output, look, shot)
    with Image.open(output) as image:
        assert (image.mode, image.size, image.format) == ("RGBA", shot.size, "PNG")
        return np.asarray(image)


def place(where: NDArray[np.bool_], surface: NDArray[np.bool_]) -> tuple[float, float]:
    """The middle of `where` in the box around the surface: from its left, from its bottom."""
    found = []
    for axis in (0, 1):
        along = np.nonzero(surface.any(axis=axis))[0]
        middle = np.nonzero(where)[1 - axis].mean()
        found.append(float((middle - along[0]) / (along[-1] - along[0])))
    return found[0], 1 - found[1]


def darkest(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    brightness = np.where(pixels[..., 3] == 255, pixels[..., :3].sum(axis=-1), 9999)
    return np.asarray(brightness <= np.sort(brightness.ravel())[10])


def test_seen_from_above_it_lies_like_a_map(tmp_path: Path) -> None:
    """The minimum is dark and where it is in the file: alpha to the right, beta upwards."""
    pixels = picture(plane(), tmp_path, TOP, Look(levels=(), stretch=0.0))
    surface = pixels[..., 3] > 0
    assert 0.4 < surface.mean() < 0.8
    assert not surface[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert (pixels[50:70, 70:90, 3] == 255).all()
    x, y = place(darkest(pixels), surface)
    assert x == pytest.approx((1.5 + 1) / 3, abs=0.02)
    assert y == pytest.approx(0.25 / 2, abs=0.02)


@pytest.mark.parametrize(
    ("camera", "expected"),
    [("0,0", 2.5 / 3), ("180,0", 0.5 / 3), ("90,0", 0.25 / 2), ("-90,0", 1.75 / 2)],
)
def test_seen_from_the_side_the_minimum_is_lowest(
    camera: str, expected: float, tmp_path: Path
) -> None:
    surface = picture(plane(), tmp_path, replace(CLEAR, camera=camera))[..., 3] > 0
    lowest = np.zeros_like(surface)
    row = np.nonzero(surface.any(axis=1))[0][-1]
    lowest[row] = surface[row]
    x, y = place(lowest, surface)
    assert x == pytest.approx(expected, abs=0.2)  # perspective moves it inwards where it is far
    assert y == pytest.approx(0, abs=0.02)


def test_the_same_picture_again_and_another_from_each_preset(tmp_path: Path) -> None:
    views = ["iso", "iso", "top", "front", "side", "low"]
    made = [picture(plane(), tmp_path, replace(CLEAR, camera=view)).tobytes() for view in views]
    assert made[0] == made[1]
    assert len(set(made)) == 5


def test_a_background_is_of_its_colour_all_around(tmp_path: Path) -> None:
    clear = picture(plane(), tmp_path, CLEAR)
    blue = picture(plane(), tmp_path, replace(CLEAR, background="#102080"))
    assert (blue[..., 3] == 255).all()
    assert (blue[clear[..., 3] == 0][:, :3] == (16, 32, 128)).all()
    inside = clear[..., 3] == 255
    assert np.abs(blue[inside].astype(int) - clear[inside]).max() <= 1
    edge = (clear[..., 3] > 0) & ~inside  # antialiased, and composed alike
    assert edge.sum() > 50
    share = clear[edge][:, 3:] / 255
    mixed = share * clear[edge][:, :3] + (1 - share) * (16, 32, 128)
    assert np.abs(mixed - blue[edge][:, :3]).max() <= 3


def test_what_is_missing_is_a_hole(tmp_path: Path) -> None:
    status = np.ones(BOWL.shape, np.uint8)
    status[6:11, 9:16] = 0
    values = np.where(status == 1, BOWL, np.nan)
    whole = picture(plane(), tmp_path, TOP)[..., 3]
    holed = picture(plane(values={"test_loss": values}, status=status), tmp_path, TOP)[..., 3]
    assert (whole[58:62, 78:82] == 255).all()
    assert (holed[58:62, 78:82] == 0).all()
    assert (holed[whole < 255] == whole[whole < 255]).all()
    assert 0.05 < (whole > holed).mean() < 0.2


def test_points_that_are_no_neighbours_are_all_holes(tmp_path: Path) -> None:
    chequered = np.where(np.indices(BOWL.shape).sum(axis=0) % 2, np.nan, BOWL)
    pixels = picture(plane(values={"test_loss": chequered}), tmp_path, CLEAR, Look())
    assert not pixels[..., 3].any()


def test_contour_lines_are_lighter_and_where_their_values_are(tmp_path: Path) -> None:
    """On a slope along alpha, which is seen from above as an even one."""
    slope = plane(values={"test_loss": np.broadcast_to(ALPHA + 2, BOWL.shape).copy()})
    shot = replace(TOP, size=(320, 240))
    flat = Look(levels=(2.0, 3.5), stretch=0.0)
    bare = picture(slope, tmp_path, shot, replace(flat, levels=()))
    lined = picture(slope, tmp_path, shot, flat)
    lighter = lined[..., :3].sum(axis=-1, dtype=int) - bare[..., :3].sum(axis=-1) > 30
    surface = bare[..., 3] > 0
    columns = np.nonzero(lighter.any(axis=0))[0]
    left, right = columns[columns < 200], columns[columns >= 200]
    for part, value in ((left, 2.0), (right, 3.5)):
        line = lighter.copy()
        line[:, np.setdiff1d(np.arange(320), part)] = False
        assert 1 <= part.size <= 4
        assert place(line, surface)[0] == pytest.approx((value - 1) / 3, abs=0.01)


@pytest.mark.parametrize(
    "values",
    [
        np.full((9, 9), 2.3),
        np.array([[1.0, 2.0], [3.0, 1.0]]),
        np.where(BOWL > 8, np.inf, BOWL),
        np.where(BOWL > 8, -np.inf, BOWL),
        np.where(BOWL > 8, 1e300, BOWL),
        -BOWL,
        BOWL * 1e-200,
        np.concatenate([BOWL] * 70, axis=1),
    ],
    ids=["constant", "2x2", "inf", "-inf", "huge", "negative", "tiny", "long"],
)
def test_any_values_make_a_picture(values: np.ndarray, tmp_path: Path) -> None:
    alpha, beta = (np.linspace(-1, 1, size) for size in reversed(values.shape))
    landscape = Made({"test_loss": values}, alpha, beta, np.ones(values.shape, np.uint8))
    surface = picture(landscape, tmp_path, CLEAR, Look())[..., 3]
    assert 0.15 < (surface == 255).mean() < 0.9


def test_points_between_are_for_drawing_and_can_be_left_out() -> None:
    snapshot, relief = photographed(plane(), Look(logarithmic=False, clamp=4.0))
    drawn = compose(snapshot, relief, replace(CLEAR, as_computed=True), (600, 400))
    np.testing.assert_allclose(drawn.surface.values, np.minimum(BOWL, 4) - BOWL.min())
    fine = compose(snapshot, relief, CLEAR, (600, 400))
    assert fine.surface.values.shape == (305, 313)
    np.testing.assert_allclose(fine.surface.values[::19, ::13], drawn.surface.values)
    high = fine.relief.heights(fine.surface.values).max()
    assert high == pytest.approx(0.5)  # of the unit box
    np.testing.assert_allclose(np.ptp(fine.surface.alpha), 1)
    np.testing.assert_allclose(np.ptp(fine.surface.beta), 2 / 3)


def test_axes_of_unlike_units_are_drawn_as_a_square() -> None:
    snapshot, relief = photographed(plane(beta=BETA * 1000), Look())
    surface = compose(snapshot, relief, CLEAR, SIZE).surface
    np.testing.assert_allclose((np.ptp(surface.alpha), np.ptp(surface.beta)), 1)


def test_an_unfinished_grid_is_drawn_by_its_complete_lattice(tmp_path: Path) -> None:
    axis = np.linspace(-1, 1, 33)
    values = 0.1 + axis**2 + axis[:, None] ** 2
    status = np.zeros((33, 33), np.uint8)
    status[::4, ::4] = 1
    status[2, ::4] = 1
    begun = Made({"test_loss": np.where(status == 1, values, np.nan)}, axis, axis, status)
    surface = picture(begun, tmp_path, CLEAR)[..., 3] == 255
    assert surface.mean() > 0.2
    assert "pending" in render(begun, tmp_path / "a.png", Look(), CLEAR)


def test_a_bar_stands_beside_the_picture(tmp_path: Path) -> None:
    size = (400, 300)
    dark = replace(CLEAR, size=size, background="black")
    beside = picture(plane(), tmp_path, replace(dark, bar=True))
    alone = picture(plane(), tmp_path, replace(dark, size=(340, 300)))
    np.testing.assert_array_equal(beside[:, :340], alone)
    bar = beside[:, 340:, :3].astype(int)
    for end in ((68, 1, 84), (253, 231, 37)):  # of viridis
        assert (np.abs(bar - end).max(axis=-1) < 8).any()
    assert (bar.min(axis=-1) > 150).sum() > 40  # white text
    clear = picture(plane(), tmp_path, replace(dark, bar=True, background=None))
    assert clear[0, -1, 3] == 0
    assert (clear[:, 340:, 3] > 0).any()


def test_other_colours(tmp_path: Path) -> None:
    grey = picture(plane(), tmp_path, replace(CLEAR, colours="gray", as_computed=True))
    red, green, blue = np.moveaxis(grey[grey[..., 3] == 255][:, :3].astype(int), 1, 0)
    assert np.abs(red - green).max() <= 40  # lamps are a little warm
    assert np.abs(red - blue).max() <= 60


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_turntable_turns_once_around(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"a{suffix}"
    shot = replace(CLEAR, background="black", camera="0,30")
    told = render_turntable(plane(), output, NO_LINES, shot, Turn(frames=4, seconds=1.7))
    assert "turntable, 4 frames in 1.7 s, of 160 x 120 pixels" in told
    frames, seconds = read_back(output)
    assert [frame.shape for frame in frames] == [(120, 160, 3)] * 4
    assert seconds == pytest.approx(1.7, abs=1e-3)
    middles = []
    for frame in frames:
        surface = frame.sum(axis=-1) > 60
        assert 0.1 < surface.mean() < 0.7
        lowest = np.nonzero(surface.any(axis=1))[0][-1]
        assert lowest < 119
        bright = np.where(surface, frame[..., 0], 0)  # the high side is yellow
        middles.append(np.nonzero(bright > 150)[1].mean() - np.nonzero(surface)[1].mean())
    assert middles[0] * middles[2] < 0  # the high side has gone over to the other side
    assert len({frame.tobytes() for frame in frames}) == 4


def test_wrong_wishes_are_told(tmp_path: Path) -> None:
    line = plane(beta=None, values={"test_loss": BOWL[0]}, status=np.ones(25, np.uint8))
    row = plane(beta=BETA[:1], values={"test_loss": BOWL[:1]}, status=np.ones((1, 25), np.uint8))
    empty = plane(values={"test_loss": np.full(BOWL.shape, np.nan)})
    for landscape, name, look, shot, told in [
        (plane(), "a.jpg", Look(), CLEAR, r"must end in \.png, not in '\.jpg'"),
        (line, "a.png", Look(), CLEAR, "made: is a line, and render draws planes; see plot"),
        (row, "a.png", Look(), CLEAR, "made: is a line"),
        (empty, "a.png", Look(), CLEAR, "nothing to draw, test_loss has no finite value"),
        (plane(), "a.png", Look(column="tset_loss"), CLEAR, "did you mean 'test_loss'"),
        (plane(), "a.png", Look(clamp=-1.0), CLEAR, "all values are above"),
        (plane(), "a.png", Look(), replace(CLEAR, size=(99, 99), bar=True), "takes 60 of 99"),
        (plane(), "a.png", Look(), replace(CLEAR, camera="up"), "--camera up: is neither"),
        (plane(), "a.png", Look(), replace(CLEAR, background="bleu"), "--background bleu: is no"),
        (plane(), "a.png", Look(), replace(CLEAR, colours="viridas"), "did you mean 'viridis'"),
    ]:
        with pytest.raises(UserError, match=told):
            render(landscape, tmp_path / name, look, shot)
    with pytest.raises(UserError, match="can't be transparent"):
        render_turntable(plane(), tmp_path / "a.gif", Look(), CLEAR, Turn())
    assert not list(tmp_path.iterdir())


def test_sizes() -> None:
    assert parse_size("2400x1800") == (2400, 1800)
    assert parse_size("16X8192") == (16, 8192)
    for wrong in ("2400", "15x16", "16x8193", "-16x16", "1e3x100", "16x", "x", "16x16x16"):
        with pytest.raises(UserError, match="is not a width x height from 16 to 8192 pixels"):
            parse_size(wrong)


def test_a_picture_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written: "):
        render(plane(), tmp_path / "file" / "a.png", Look(), CLEAR)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    run(toy_job(folder))
    return folder / "out" / "toy.vtkhdf"


def command(file: Path, *options: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lossgrid", "render", file, "--size", "128x96", *map(str, options)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_the_command(toy: Path) -> None:
    done = command(toy, "--camera", "-20,30", "--transparent", "--bar", "--contours", "none")
    assert done.returncode == 0, done.stderr
    output = toy.with_name("toy-3d.png")
    assert f"{output}: picture of 128 x 96 pixels, height " in done.stdout
    assert done.stderr == ""
    with Image.open(output) as image:
        assert image.size == (128, 96)
    output.unlink()
    film = toy.with_name("film.gif")
    done = command(toy, "--turntable", film, "--frames", 3, "--seconds", 1)
    assert done.returncode == 0, done.stderr
    assert len(read_back(film)[0]) == 3
    assert not output.exists()


def test_a_users_files_are_not_taken_for_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("PIL.py").write_text("raise SystemExit('no library')")
    render(plane(), Path("a.png"), Look(), CLEAR)
    assert Path("a.png").exists()


@pytest.mark.parametrize("option", [("--frames", 120), ("--seconds", 6)])
def test_what_is_of_films_is_told(toy: Path, option: tuple[str, int]) -> None:
    done = command(toy, *option)
    assert done.returncode == 2
    assert "are of a film: name it with --turntable" in done.stderr
    assert not toy.with_name("toy-3d.png").exists()


def test_a_background_is_there_or_not(toy: Path) -> None:
    done = command(toy, "--transparent", "--background", "white")
    assert done.returncode == 2
    assert "--transparent means no --background" in done.stderr


@pytest.fixture
def no_libraries(tmp_path: Path) -> dict[str, str]:
    """Variables that hide OpenGL: libraries that can't be loaded come first."""
    for name in (
        "libEGL.so",
        "libEGL.so.1",
        "libOSMesa.so",
        *(f"libOSMesa.so.{n}" for n in (6, 8)),
    ):
        (tmp_path / name).touch()
    return {"LD_LIBRARY_PATH": str(tmp_path), "DISPLAY": "", "WAYLAND_DISPLAY": ""}


NO_DRIVERS = {"__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent", "DISPLAY": ":6077"}


@pytest.mark.parametrize("hidden", ["libraries", "drivers"])
def test_without_opengl_it_says_what_to_install(
    hidden: str, toy: Path, no_libraries: dict[str, str], tmp_path: Path
) -> None:
    variables = no_libraries if hidden == "libraries" else NO_DRIVERS
    done = command(toy, "--output", tmp_path / "a.png", **variables)
    assert done.returncode == 2, done
    (said,) = done.stderr.splitlines()
    assert "apt-get install libegl1 libgl1-mesa-dri" in said
    assert done.stdout == ""
    assert not (tmp_path / "a.png").exists()


def test_without_vtk_it_says_how_to_get_it(toy: Path) -> None:
    code = "import sys; sys.modules['vtkmodules'] = None\nfrom lossgrid.cli import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", code, "render", toy], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "pip install 'lossgrid[vtk]'" in said


def test_drawing_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr(studio, "_READY_SECONDS", 0.3)
    with pytest.raises(UserError, match="drawing can't begin: it took too long"):
        render(plane(), tmp_path / "a.png", Look(), CLEAR)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.kill(os.getpid(), 9)", r"was killed \(SIGKILL\), as happens where memory"),
        ("import os; os.kill(os.getpid(), 15)", "was ended by SIGTERM"),
        ("raise ImportError('no libfoo')", "ImportError: no libfoo"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
        (f"raise SystemExit({studio.DRAWS_NOTHING})", "no OpenGL is found"),
    ],
)
def test_an_early_end_of_drawing_is_told_as_it_was(
    code: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, code)
    with pytest.raises(UserError, match=told):
        render(plane(), tmp_path / "a.png", Look(), CLEAR)


def test_drawing_that_breaks_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = f"sys.stdout.buffer.write({studio.READY!r} + b'x')"
    stand_in(tmp_path, monkeypatch, f"import sys; {answer}; sys.exit('out of colours')")
    with pytest.raises(UserError, match="drawing 160 x 120 pixels broke off: out of colours"):
        render(plane(), tmp_path / "a.png", Look(), CLEAR)
    assert not (tmp_path / "a.png").exists()


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Another program in the place of the one that draws."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    program.chmod(0o755)
    monkeypatch.setattr(studio.sys, "executable", str(program))

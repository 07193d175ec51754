"""Interactive pages in a real browser, without a network."""

from __future__ import annotations

import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.lattice import coarse_to_fine
from lossgrid.store.trajectory import Trajectory
from lossgrid.view import Landscape
from lossgrid.view.page import _array, write_page
from tests.absent import absent
from tests.view.browser import ARGUMENTS, CHROMIUM
from tests.view.landscapes import ALPHA, BETA, BOWL, Made, plane

ROW, COLUMN = 11, 5
TABLE = (
    "() => Array.from(document.querySelectorAll('#values tr')).map(r => r.innerText.split('\\t'))"
)
BOTH = {"test_loss": BOWL, "train_loss": BOWL / 2, "test_accuracy": 1 / (1 + BOWL)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, which draws WebGL on the CPU."""
    if shutil.which(CHROMIUM) is None:
        absent(f"no {CHROMIUM}: `make system` installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which(CHROMIUM), args=list(ARGUMENTS)
        )
        yield chromium
        chromium.close()


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Visit]:
    """Opens the page of a landscape once it is drawn, and sees at the end that all went well."""
    requested: list[str] = []
    said: list[tuple[str, str]] = []
    wrong: list[str] = []
    contexts = []
    own = (tmp_path / "page.html").as_uri()

    def opened(landscape: Landscape, **options: Any) -> Any:
        output = tmp_path / "page.html"
        write_page(landscape, None, output)
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("request", lambda r: requested.append(r.url))
        page.on("console", lambda m: said.append((m.type, m.text)))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(own)
        drawn(page, 1)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []
    assert [text for kind, text in said if kind == "error"] == []
    assert [url for url in requested if not url.startswith((own, "blob:"))] == []


def drawn(page: Any, times: int) -> None:
    page.wait_for_selector(f'html[data-drawn="{times}"]', state="attached")


def pixels(page: Any, selector: str) -> NDArray[np.float64]:
    """Colours of an element, shape (rows, columns, 3)."""
    picture: NDArray[np.float64] = imread(BytesIO(page.locator(selector).screenshot()))
    return picture[..., :3]


def coloured(picture: NDArray[np.float64]) -> float:
    """Share of the pixels that are neither black, white nor grey."""
    return float((np.ptp(picture, axis=-1) > 0.15).mean())


def place(page: Any, alpha: float, beta: float) -> tuple[float, float]:
    """Where a point of the plane is in the contours, in pixels of the window."""
    box = page.locator("#contour .nsewdrag").first.bounding_box()
    right = (alpha - ALPHA[0]) / np.ptp(ALPHA)
    up = (beta - BETA[0]) / np.ptp(BETA)
    return box["x"] + right * box["width"], box["y"] + (1 - up) * box["height"]


def hover(page: Any, x: float, y: float) -> None:
    """Move the mouse until the page has noticed."""
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.wait_for_selector('#cursor[visibility="visible"]')


def middle(page: Any, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def cursor_on_surface(page: Any) -> tuple[float, float]:
    """Where the surface shows the point under the mouse, in pixels of the window."""
    return middle(page, "#cursor circle")


def data(page: Any, plot: str, trace: int = 0) -> Any:
    return page.evaluate(
        "([plot, trace]) => { const t = document.getElementById(plot).data[trace];"
        " return { x: Array.from(t.x), y: Array.from(t.y), name: t.name }; }",
        [plot, trace],
    )


def told(page: Any) -> dict[str, str]:
    """The table of values."""
    return dict(page.evaluate(TABLE))


def test_the_page_draws_surface_contours_and_cuts(visit: Visit) -> None:
    page = visit(plane(values=BOTH))
    assert coloured(pixels(page, "#surface")) > 0.15
    assert coloured(pixels(page, "#contour")) > 0.3
    assert page.locator("h1").inner_text() == "made"
    assert page.locator("#best").inner_text() == "★ test loss: minimum 0.01 at α 1.5, β 0.25"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.evaluate("document.documentElement.scrollHeight") <= 800
    cuts = [data(page, "along-alpha", 0), data(page, "along-alpha", 1)]
    assert [cut["name"] for cut in cuts] == ["test", "train"]
    np.testing.assert_allclose(cuts[1]["y"], BOWL[2] / 2, rtol=1e-6)
    picture = imread(BytesIO(page.screenshot()))[..., :3]

    def brightness(alpha: float, beta: float) -> float:
        x, y = place(page, alpha, beta)
        return float(picture[round(y), round(x)].sum())

    assert brightness(1.42, 0.32) < brightness(0.5, 0.9) < brightness(-0.93, 1.92)


@pytest.mark.parametrize("missing", [0, 9])
def test_lines_of_levels_are_those_of_contourpy(visit: Visit, missing: int) -> None:
    page = visit(plane())
    random = np.random.default_rng(missing)
    z = random.normal(size=(14, 11))
    z.flat[random.permutation(z.size)[:missing]] = np.nan
    x, y = np.sort(random.normal(size=11)), np.sort(random.normal(size=14))
    expected = contourpy.contour_generator(x, y, np.ma.masked_invalid(z), corner_mask=False)
    rows = [[value if np.isfinite(value) else None for value in row] for row in z.tolist()]
    for level in (-1.0, 0.0, 0.3, 2.0, 9.0):
        lines = page.evaluate(
            "([level, x, y, z]) =>"
            " linesAt(level, x, y, z.map((row) => row.map((value) => value ?? NaN)))",
            [level, x.tolist(), y.tolist(), rows],
        )
        np.testing.assert_allclose(shapes(lines), shapes(expected.lines(level)), atol=1e-12)


def shapes(lines: Any) -> NDArray[np.float64]:
    """Number of points, length, and the mean point of each line, whichever way it goes."""
    told = []
    for line in map(np.asarray, lines):
        steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
        middle = (steps @ (line[1:] + line[:-1])) / 2 / steps.sum()
        told.append([len(line), steps.sum(), *middle])
    return np.array(sorted(told)).reshape(-1, 4)


def test_levels_are_labelled_on_their_lines(visit: Visit) -> None:
    page = visit(plane(values=BOTH))
    lines, labels = page.evaluate(
        "document.getElementById('contour').data.slice(1, 3)"
        ".map(({ x, y, text }) => ({ x, y, text }))"
    )
    assert len(labels["text"]) > 2
    points = set(zip(lines["x"], lines["y"], strict=True))
    assert points.issuperset(zip(labels["x"], labels["y"], strict=True))
    places = replace(PATH, alpha=np.array(labels["x"]), beta=np.array(labels["y"]))
    under = 10 ** places.under(ALPHA, BETA, np.log10(BOWL))
    np.testing.assert_allclose(under, np.array(labels["text"], float), rtol=1e-5)


def test_the_switches_change_what_is_drawn(visit: Visit) -> None:
    page = visit(plane(values=BOTH))
    assert page.locator("#log").is_checked()
    before = {name: pixels(page, f"#{name}") for name in ("surface", "contour", "along-alpha")}
    page.locator("#log").uncheck()
    drawn(page, 2)
    linear = {name: pixels(page, f"#{name}") for name in before}
    page.locator("#column").select_option("test_accuracy")
    drawn(page, 3)
    for name, picture in before.items():
        assert (np.abs(picture - linear[name]) > 0.1).mean() > 0.005
        assert (np.abs(pixels(page, f"#{name}") - linear[name]) > 0.1).mean() > 0.005
    assert "test accuracy: maximum 0.9901" in page.locator("#best").inner_text()
    assert page.locator("tr.shown th").inner_text() == "test accuracy"


def test_a_fine_surface_ends_with_all_points(visit: Visit) -> None:
    """What is seen first has every second one, but for the last of an even number."""
    alpha, beta = np.linspace(-1, 1, 201), np.linspace(-1, 1, 160)
    values = 1.5 + alpha[None] ** 2 + beta[:, None]
    page = visit(Made({"test_loss": values}, alpha, beta, np.ones(values.shape, np.uint8)))
    wait_whole(page)
    page.evaluate(
        "() => { window.seen = []; const page = document.documentElement;"
        " new MutationObserver(() => seen.push([page.dataset.drawn, page.dataset.whole,"
        " ...['x', 'y', 'z'].map((axis) => surface.data[0][axis].length)]))"
        ".observe(page, { attributes: true }); }"
    )
    page.locator("#log").check()
    drawn(page, 2)
    wait_whole(page)
    seen = page.evaluate("seen")
    assert ["2", "false", 101, 80, 80] in seen
    assert seen[-1] == ["2", "true", 201, 160, 160]
    heights = page.evaluate("surface.data[0].z.map((row) => Array.from(row))")
    np.testing.assert_allclose(heights, np.log10(values), rtol=1e-5, atol=1e-6)


def test_a_saved_surface_has_all_points(visit: Visit) -> None:
    axis = np.linspace(-1, 1, 201)
    values = 1 + axis[None] ** 2 + axis[:, None]
    page = visit(Made({"test_loss": values}, axis, axis, np.ones(values.shape, np.uint8)))
    page.evaluate("() => { state.whole = false; return drawSurface(); }")
    with page.expect_download():
        page.locator('[data-saves="surface"]').click()
    assert page.evaluate("surface.data[0].z.length") == 201


def wait_whole(page: Any) -> None:
    page.wait_for_selector('html[data-whole="true"]', state="attached")


def test_the_mouse_over_the_contours_shows_on_the_surface(visit: Visit) -> None:
    page = visit(plane(values=BOTH))
    hover(page, *place(page, ALPHA[COLUMN], BETA[ROW]))
    assert page.locator(
        "#place"
    ).inner_text() == f"α {ALPHA[COLUMN]:.4g}, β {BETA[ROW]:.4g}".replace("-", "−")
    assert float(told(page)["train loss"]) == pytest.approx(BOWL[ROW, COLUMN] / 2, rel=1e-3)
    x, y = cursor_on_surface(page)
    page.mouse.move(5, 5)
    page.wait_for_selector('#cursor[visibility="hidden"]', state="attached")
    hover(page, x, y)  # the other way round it is the same point
    assert float(told(page)["train loss"]) == pytest.approx(BOWL[ROW, COLUMN] / 2, rel=1e-3)


def test_the_mouse_over_the_surface_is_marked_where_it_is(visit: Visit) -> None:
    """Also when it has been turned and looked at more closely."""
    axis = np.linspace(-1, 1, 201)
    values = 1 + axis[None] ** 2 / 2 + axis[:, None]
    page = visit(Made({"test_loss": values}, axis, axis, np.ones(values.shape, np.uint8)))
    x, y = middle(page, "#surface")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 20, steps=3)
    page.mouse.up()
    page.mouse.wheel(0, -150)
    for across, down in ((-110, 0), (100, 20), (0, 50)):
        for step in range(100):  # the surface comes nearer for a while; a hand does not keep still
            hover(page, x + across + step % 2, y + down)
            right, below = cursor_on_surface(page)
            distance = np.hypot(right - x - across, below - y - down)
            if distance < 8:  # grid points are some pixels apart
                break
            page.wait_for_timeout(100)
        assert distance < 8


def test_a_click_on_the_contours_shows_the_cuts(visit: Visit) -> None:
    page = visit(plane(values=BOTH))
    hover(page, *place(page, ALPHA[COLUMN], BETA[ROW]))
    page.mouse.click(*place(page, ALPHA[COLUMN], BETA[ROW]))
    page.wait_for_selector(f'#row-value:text-is("{BETA[ROW]:.4g}")')
    along_alpha, along_beta = data(page, "along-alpha"), data(page, "along-beta")
    np.testing.assert_allclose(along_alpha["x"], ALPHA, rtol=1e-6)
    np.testing.assert_allclose(along_alpha["y"], BOWL[ROW], rtol=1e-6)
    np.testing.assert_allclose(along_beta["x"], BETA, rtol=1e-6)
    np.testing.assert_allclose(along_beta["y"], BOWL[:, COLUMN], rtol=1e-6)


def test_a_click_on_the_surface_shows_the_cuts_and_turning_it_does_not(visit: Visit) -> None:
    page = visit(plane())
    before = page.locator("#row-value").inner_text()
    x, y = middle(page, "#surface")
    hover(page, x - 30, y)
    page.mouse.down()
    page.mouse.move(x - 20, y, steps=4)
    page.mouse.up()
    assert page.locator("#row-value").inner_text() == before
    page.mouse.move(x, y - 20)
    page.mouse.click(x, y - 20, delay=100)
    page.wait_for_selector(f'#row-value:not(:text-is("{before}"))')
    pinned, cursor = middle(page, "#pin"), cursor_on_surface(page)
    assert np.hypot(pinned[0] - x, pinned[1] - y + 20) < 25
    assert pinned == cursor


def test_cuts_are_reached_with_the_keyboard(visit: Visit) -> None:
    page = visit(plane())
    page.get_by_label("Cut along α at β").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#row").get_attribute("aria-valuetext") == f"{BETA[3]:.4g}"
    np.testing.assert_allclose(data(page, "along-alpha")["y"], BOWL[3], rtol=1e-6)
    page.get_by_label("Show").focus()
    page.get_by_label("Log scale").press("Space")
    drawn(page, 2)


def test_pictures_are_saved(visit: Visit) -> None:
    page = visit(plane())
    for plot in ("surface", "contour", "along-beta"):
        with page.expect_download() as download:
            page.locator(f'[data-saves="{plot}"]').click()
        assert download.value.suggested_filename == f"made-test_loss-{plot}.png"
        picture = imread(download.value.path())
        assert picture.shape[1] > 1600
        assert 0.005 < coloured(picture[..., :3]) < 0.9


def test_dark_and_light_follow_the_system(visit: Visit) -> None:
    page = visit(plane(), color_scheme="dark")
    assert pixels(page, "#contour")[2, 2].max() < 0.3
    assert pixels(page, "#surface")[2, 2].max() < 0.3
    page.emulate_media(color_scheme="light")
    drawn(page, 2)
    assert pixels(page, "#contour")[2, 2].min() > 0.95


def test_the_plots_follow_the_window(visit: Visit) -> None:
    page = visit(plane())
    wide = page.locator("#contour .main-svg").first.bounding_box()["width"]
    page.set_viewport_size({"width": 1000, "height": 800})
    page.wait_for_selector("#contour .main-svg[width='1']", state="detached")
    page.wait_for_timeout(500)
    narrow = page.locator("#contour .main-svg").first.bounding_box()["width"]
    assert narrow < wide - 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000


def holed() -> Made:
    values, status = BOWL.copy(), np.ones(BOWL.shape, np.uint8)
    status[4:13, 6:19] = 0
    values[status == 0] = np.nan
    return plane(values={"test_loss": values}, status=status)


def test_what_is_missing_is_a_gap(visit: Visit) -> None:
    whole = visit(plane())
    page = visit(holed())
    assert page.locator("#notes").inner_text() == "27.5 % of 425 points pending"
    assert coloured(pixels(page, "#contour")) < coloured(pixels(whole, "#contour")) - 0.05
    assert coloured(pixels(page, "#surface")) < coloured(pixels(whole, "#surface")) - 0.03
    hover(page, *place(page, ALPHA[2], BETA[8]))
    page.mouse.click(*place(page, ALPHA[2], BETA[8]))
    page.wait_for_selector(f'#row-value:text-is("{BETA[8]:.4g}")')
    cut = page.locator("#row-cut").get_attribute("d")
    assert cut.count("M") == 2  # it is interrupted
    assert "NaN" not in cut


def test_an_unfinished_run_shows_its_coarse_picture(visit: Visit) -> None:
    axis = np.linspace(-1, 1, 33)
    status = np.zeros(33 * 33, np.uint8)
    for row in coarse_to_fine(33, 33):
        status[row] = 1
        if row[0] == 2 * 33:
            break
    values = np.where(status, 1.0 + np.arange(33 * 33), np.nan).reshape(33, 33)
    page = visit(Made({"test_loss": values}, axis, axis, status.reshape(33, 33)))
    notes = page.locator("#notes").inner_text()
    assert "of 1089 points pending" in notes
    assert "drawn: 9 x 9 of 33 x 33 points" in notes
    assert coloured(pixels(page, "#contour")) > 0.3


def test_infinity_lies_at_the_top_and_is_told(visit: Visit) -> None:
    values = BOWL.copy()
    values[ROW, COLUMN] = np.inf
    page = visit(plane(values={"test_loss": values}))
    assert "1 not finite" in page.locator("#notes").inner_text()
    hover(page, *place(page, ALPHA[COLUMN], BETA[ROW]))
    assert told(page)["test loss"] == "∞"


def test_a_column_without_values_does_not_hide_the_others(visit: Visit) -> None:
    page = visit(plane(values={**BOTH, "train_loss": np.full(BOWL.shape, np.nan)}))
    page.locator("#column").select_option("train_loss")
    drawn(page, 2)
    assert page.locator("#log").is_disabled()
    assert "train loss has no finite value" in page.locator("#contour").inner_text()
    page.locator("#column").select_option("test_loss")
    drawn(page, 3)
    assert coloured(pixels(page, "#contour")) > 0.3
    assert coloured(pixels(page, "#surface")) > 0.15


def test_a_constant_surface_is_drawn(visit: Visit) -> None:
    page = visit(plane(values={"test_loss": np.full(BOWL.shape, 2.3)}))
    assert page.locator("#best").inner_text() == "test loss: 2.3 everywhere"
    assert coloured(pixels(page, "#surface")) > 0.1
    assert coloured(pixels(page, "#contour")) > 0.3


LINE = {
    "train_loss": 0.1 + ALPHA**2,
    "test_loss": 0.2 + ALPHA**2,
    "test_accuracy": 1 / (1 + ALPHA**2),
}


def test_a_line_has_curves_of_all_columns(visit: Visit) -> None:
    page = visit(Made(LINE, beta=None, status=np.ones(25, np.uint8)))
    curves = [("loss", 0, "train_loss"), ("loss", 1, "test_loss"), ("accuracy", 0, "test_accuracy")]
    for metric, trace, column in curves:
        curve = data(page, f"metric-{metric}", trace)
        assert curve["name"] == column.partition("_")[0]
        np.testing.assert_allclose(curve["x"], ALPHA, rtol=1e-6)
        np.testing.assert_allclose(curve["y"], LINE[column], rtol=1e-6)
    before = pixels(page, "#metric-loss")
    page.locator("#log").click()
    drawn(page, 2)
    assert (np.abs(before - pixels(page, "#metric-loss")) > 0.1).mean() > 0.005
    assert page.evaluate("rest") is None  # no surface is to be finished
    with page.expect_download() as download:
        page.locator('[data-saves="metric-loss"]').click()
    assert download.value.suggested_filename == "made-metric-loss.png"


@pytest.mark.parametrize("shape", [(1, 25), (17, 1), (1, 1), (2, 2)])
def test_planes_without_width_are_drawn(visit: Visit, shape: tuple[int, int]) -> None:
    ny, nx = shape
    values = BOWL[:ny, :nx]
    page = visit(Made({"test_loss": values}, ALPHA[:nx], BETA[:ny], np.ones(shape, np.uint8)))
    if shape == (2, 2):
        assert coloured(pixels(page, "#surface")) > 0.05
    else:
        np.testing.assert_allclose(data(page, "metric-loss")["y"], values.ravel(), rtol=1e-6)


PATH = Trajectory(
    alpha=np.array([-0.75, 0.3, 1.5]),
    beta=np.array([1.75, 1.2, 0.25]),
    checkpoints=("run/a.pt", "run/b.pt", "run/c.pt"),
    epoch=np.array([0.0, 10.0, 20.0]),
    learning_rate=np.array([0.1, 0.1, 0.01]),
    values={"test_loss": np.array([9.0, 3.5, 0.02])},
    status=np.ones(3, np.uint8),
    explained_variance=np.array([0.831, 0.117]),
)


def test_trajectories_lie_over_the_plane(visit: Visit) -> None:
    page = visit(plane(trajectories={"sgd": PATH}))
    path = page.evaluate(
        "document.getElementById('contour').data.map(t => t.name).lastIndexOf('sgd')"
    )
    drawn_path = data(page, "contour", path)
    np.testing.assert_allclose(drawn_path["x"], PATH.alpha, rtol=1e-6)
    page.mouse.move(*place(page, 0.27, 1.2))
    page.mouse.move(*place(page, 0.3, 1.2))
    label = page.wait_for_selector("#contour .hovertext").text_content()
    under = PATH.under(ALPHA, BETA, BOWL)[1]
    for part in ("b.pt", "epoch 10", "learning rate 0.1", "test loss 3.5", f"{under:.3g}"):
        assert part in label
    assert "α (83.1 % of the variance)" in page.locator("#contour").inner_text()
    assert (np.abs(pixels(page, "#surface") - (0.94, 0.19, 0.55)).max(axis=-1) < 0.15).sum() > 100


def test_trajectories_are_told_apart(visit: Visit) -> None:
    other = replace(PATH, alpha=PATH.alpha + 0.4)
    page = visit(plane(trajectories={"sgd": PATH, "adam": other}))
    for plot, part in (("contour", "line"), ("surface", "marker")):
        traces = f"document.getElementById('{plot}').data"
        colour = f"Object.fromEntries({traces}.map(t => [t.name, t.{part}?.color]))"
        colours = page.evaluate(colour)
        assert colours["sgd"] != colours["adam"]
    assert page.locator("#contour .legendtext").all_text_contents() == ["sgd", "adam"]
    page.mouse.move(*place(page, 0.27, 1.2))
    page.mouse.move(*place(page, 0.3, 1.2))
    label = page.wait_for_selector("#contour .hovertext").text_content()
    assert "sgd: b.pt" in label


def test_large_grids_are_thinned(visit: Visit) -> None:
    axis = np.linspace(-1, 1, 1100)
    beta = np.linspace(-1, 1, 6)
    values = 1 + axis[None] ** 2 + beta[:, None] ** 2
    page = visit(Made({"test_loss": values}, axis, beta, np.ones(values.shape, np.uint8)))
    assert page.locator("#notes").inner_text() == "drawn: 276 x 3 of 1100 x 6 points"


def test_names_are_no_code(visit: Visit) -> None:
    name = "</script><script>alert(1)</script><b>x</b> $y ${z}"
    page = visit(plane(name=name, attributes={"job": "model: {factory: 'a:<img src=x>'}"}))
    assert page.locator("h1").inner_text() == name
    assert page.title() == f"{name}: loss landscape"


def test_without_webgl_all_else_works(browser: Any, tmp_path: Path) -> None:
    write_page(plane(), None, tmp_path / "page.html")
    page = browser.new_page()
    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
        " return kind.includes('webgl') ? null : get.call(this, kind, ...more); };"
    )
    page.goto((tmp_path / "page.html").as_uri())
    drawn(page, 1)
    assert coloured(pixels(page, "#contour")) > 0.3
    assert "webgl" in page.locator("#surface").inner_text().lower()
    page.close()


@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [
        (BOWL, "Float32Array", "<f4"),
        (np.array([0.1, np.nan, np.inf, -np.inf]), "Float32Array", "<f4"),
        (np.array([1e-200, 1.0]), "Float64Array", "<f8"),
        (np.array([1e300, np.nan, np.inf]), "Float64Array", "<f8"),
        (np.array([[0, 1, 255]], np.uint8), "Uint8Array", "<u1"),
    ],
)
def test_arrays_are_as_short_as_they_can_be(values: Any, kind: str, dtype: str) -> None:
    stored = _array(values)
    assert stored["kind"] == kind
    back = np.frombuffer(b64decode(stored["data"]), dtype).reshape(stored["shape"])
    np.testing.assert_allclose(back, values, rtol=1e-6, atol=0)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in \.html"):
        write_page(plane(), None, tmp_path / "a.pdf")
    with pytest.raises(UserError, match="did you mean 'test_loss'"):
        write_page(plane(), "tset_loss", tmp_path / "a.html")
    nothing = plane(
        values={"test_loss": np.full(BOWL.shape, np.nan)}, status=np.zeros(BOWL.shape, np.uint8)
    )
    with pytest.raises(UserError, match="nothing to draw"):
        write_page(nothing, None, tmp_path / "a.html")
    with pytest.raises(UserError, match="can't be written"):
        write_page(plane(), None, Path("/proc/a.html"))
    assert not list(tmp_path.iterdir())

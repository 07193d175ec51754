"""An interactive page of four columns over a grid: how long it takes to make, load and use.

Usage: page.py [POINTS_AN_AXIS [RUNS]]. The browser draws WebGL on the CPU, which a GPU does faster.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lossgrid.store import layout
from lossgrid.store.create import Contents, create
from tests.view.browser import ARGUMENTS, CHROMIUM

WHOLE = 'html[data-whole="true"]'
COLUMNS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


def main(points: int = 251, runs: int = 5) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder, "grid.vtkhdf")
        fill(file, points)
        made = [timed(lambda: make(file)) for _ in range(runs)]
        page = file.with_suffix(".html")
        path = shutil.which(CHROMIUM)
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        uses = [use(browser, page) for _ in range(runs)]
        browser.close()
        print(f"{points} x {points} points, {len(COLUMNS)} columns; median of {runs} (least, most)")
        print(f"page: {page.stat().st_size / 1e6:.1f} MB")
        tell("lossgrid html", made)
        for name in uses[0]:
            tell(name, [measured[name] for measured in uses])


def fill(file: Path, points: int) -> None:
    """A results file with hills and valleys."""
    axis = np.linspace(-1, 1, points)
    create(file, Contents(axis, axis, COLUMNS, {}, attributes={"plan": "{}", "fingerprint": "{}"}))
    alpha, beta = np.meshgrid(axis, axis)
    loss = 0.01 + alpha**2 + 3 * beta**2 + (np.sin(9 * alpha) * np.cos(5 * beta)) ** 2 / 3
    with h5py.File(file, "r+") as stored:
        for number, name in enumerate(COLUMNS, 4):
            values = 1 / (1 + loss) if name.endswith("accuracy") else loss
            stored[layout.value_dataset(name)][...] = values * number / 4
        stored[layout.STATUS][...] = 1


def make(file: Path) -> None:
    command = [sys.executable, "-m", "lossgrid", "html", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def use(browser: Browser, path: Path) -> dict[str, float]:
    """Seconds until the page can be used, until it is finished, and until it has answered.

    It can be used once surface, contours and cuts are on the screen and the surface shows where the
    mouse is over the contours: drawn in part, a page that then stands still does not count.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    measured = {}
    began = time.perf_counter()
    page.goto(path.as_uri())
    wait(page, 'html[data-drawn="1"]')
    box: Any = page.locator("#contour .nsewdrag").first.bounding_box()
    across = box["x"] + box["width"] / 3
    page.mouse.move(across, box["y"] + 90)
    wait(page, '#cursor[visibility="visible"]')
    measured["until all is drawn and has answered"] = time.perf_counter() - began
    wait(page, WHOLE)
    measured["until the surface has all points"] = time.perf_counter() - began
    measured["move of the mouse"] = timed(lambda: hover(page, across, box["y"] + 190))
    measured["log switch"] = timed(lambda: redraw(page, lambda: page.locator("#log").click(), 2))
    wait(page, WHOLE)
    choose = page.locator("#column").select_option
    measured["metric switch"] = timed(lambda: redraw(page, lambda: choose("train_accuracy"), 3))
    page.close()
    return measured


def redraw(page: Any, act: Callable[[], Any], times: int) -> None:
    act()
    wait(page, f'html[data-drawn="{times}"]')


def hover(page: Any, x: float, y: float) -> None:
    before = page.locator("#cursor").get_attribute("transform")
    page.mouse.move(x, y)
    wait(page, f'#cursor:not([transform="{before}"])')


def wait(page: Any, selector: str) -> None:
    """Until the page has come to this, and has drawn it."""
    page.wait_for_selector(selector, state="attached")


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tell(name: str, seconds: list[float]) -> None:
    print(f"{name}: {statistics.median(seconds):.2f} s ({min(seconds):.2f}, {max(seconds):.2f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.store.spectra import Spectra
from lossgrid.view.figures.options import Options
from lossgrid.view.figures.plot import plot
from lossgrid.view.figures.spectrum import density, draw_spectra, spectra_of
from tests.view.landscapes import plane

BULK = np.array([[[-0.5, 0.0, 10.0], [0.1, 0.899, 0.001]]])
"""One probe: a bulk at 0, a tenth of the eigenvalues at -0.5, one of a thousand at 10."""


def spectra(*nodes: np.ndarray) -> Spectra:
    places = np.arange(float(len(nodes)))
    done = np.ones((len(nodes), len(nodes[0])), np.uint8)
    return Spectra(places, places, {"train": np.array(nodes)}, done, 1000)


def test_a_panel_shows_each_place() -> None:
    wider = BULK * np.array([[2.0], [1.0]])
    made = plane(spectra=spectra(BULK, wider))
    figure = Figure()
    draw_spectra(figure, made, spectra_of(made), title=True)
    first, second = figure.axes
    assert first.get_yscale() == "log"
    (curve,) = first.lines
    at, drawn = np.array(curve.get_data())
    assert drawn.sum() * (at[1] - at[0]) == pytest.approx(1, abs=1e-3)
    assert at[np.argmax(drawn)] == pytest.approx(0, abs=0.02)
    low, high = first.get_ylim()
    beside = drawn[np.abs(at - 10).argmin()]  # a single eigenvalue is seen, and all of the bulk
    assert low < beside < drawn.max() < high
    assert second.get_xlim()[1] == pytest.approx(2 * first.get_xlim()[1])
    assert "(0, 0)" in first.texts[0].get_text()


def test_each_eigenvalue_makes_a_peak_of_its_weight() -> None:
    at = np.linspace(-2, 12, 20001)
    found = density(np.concatenate([BULK, BULK]), at, 0.05)
    beyond = at > 5
    step = at[1] - at[0]
    assert found.sum() * step == pytest.approx(1, abs=1e-9)
    assert found[beyond].sum() * step == pytest.approx(0.001, rel=1e-6)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    two = np.concatenate([BULK, np.full_like(BULK, np.nan)])
    for status, words in ((0, "missing"), (1, "not finite"), (2, "missing")):
        some = replace(spectra(two), status=np.array([[1, status]], np.uint8))
        said = plot(plane(spectra=some), tmp_path / "a.png", Options(spectrum=True))
        assert said.endswith(f"made: 1 probes {words}")
    with pytest.raises(UserError, match="nothing to draw, no spectrum has numbers"):
        plot(plane(spectra=spectra(0 * two[1:])), tmp_path / "a.png", Options(spectrum=True))
    with pytest.raises(UserError, match="no spectra to draw; compute them with curvature"):
        plot(plane(), tmp_path / "a.png", Options(spectrum=True))
    asked = Options(spectrum=True, columns=("test_loss",))
    with pytest.raises(UserError, match="leave out --column"):
        plot(plane(spectra=spectra(BULK)), tmp_path / "a.png", asked)

"""The density of the Hessian's eigenvalues at some places, as in Ghorbani et al. (2019)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.store.spectra import Spectra
from lossgrid.view import Landscape
from lossgrid.view.figures.curves import dashes
from lossgrid.view.figures.heading import write_heading
from lossgrid.view.figures.sheet import add_legend
from lossgrid.view.scale import number

_WIDTH = 0.005  # of the peaks, by the range of eigenvalues
_DRAWN = 2000  # points of a curve
_BEYOND = 0.05  # of the range, on either side
_BELOW = 0.1  # of the peak that a single eigenvalue makes: what is less is not drawn

_ABOVE = 3.0  # of the highest peak


def spectra_of(results: Landscape) -> Spectra:
    """The spectra of a file, some of which are known.

    Raises:
        UserError: there are none.
    """
    spectra = results.spectra
    if spectra is None:
        raise UserError(
            f"{results.name}: no spectra to draw; compute them with curvature: {{spectrum: "
            "{points: [[0, 0]]}}, or leave out --spectrum"
        )
    if not any(np.isfinite(nodes).all(axis=(2, 3)).any() for nodes in spectra.nodes.values()):
        raise UserError(f"{results.name}: nothing to draw, no spectrum has numbers (yet)")
    return spectra


def draw_spectra(figure: Figure, results: Landscape, spectra: Spectra, *, title: bool) -> None:
    """A panel for each place, with a curve for each split."""
    panels = figure.subplots(1, spectra.alpha.size, squeeze=False)[0]
    for place, axes in enumerate(panels):
        _draw(axes, spectra, place)
        if title:
            probes = next(iter(spectra.nodes.values())).shape[1]
            lacking = spectra.lacking(slice(place, place + 1))
            notes = [f"{count} of {probes} probes {why}" for why, count in lacking.items()]
            write_heading(axes, f"{results.name}: eigenvalues", [_words(spectra, place), *notes])
    panels[0].set_ylabel("density (log scale)")
    add_legend(figure, [line for axes in panels for line in axes.lines])


def density(
    nodes: NDArray[np.float64], at: NDArray[np.float64], width: float
) -> NDArray[np.float64]:
    """The density of eigenvalues, each spread to a Gaussian peak (Lin, Saad and Yang, 2016).

    Args:
        nodes: of several probes, see `Spectra`: shape (probes, 2, iterations).
        at: where, shape (n,).
        width: standard deviation of a peak.

    Returns: shape (n,); its integral is 1.
    """
    total = np.zeros_like(at)
    for value, weight in np.concatenate(list(nodes), axis=1).T:
        total += weight * np.exp(-0.5 * ((at - value) / width) ** 2)
    area = len(nodes) * width * np.sqrt(2 * np.pi)
    return np.asarray(total / area)


def _draw(axes: Axes, spectra: Spectra, place: int) -> None:
    known = {split: _known(nodes[place]) for split, nodes in spectra.nodes.items()}
    known = {split: nodes for split, nodes in known.items() if len(nodes)}
    axes.set_xlabel("eigenvalue")
    if not known:
        return
    weighty = [nodes[:, 0][nodes[:, 1] > 0] for nodes in known.values()]
    low, high = float(min(map(np.min, weighty))), float(max(map(np.max, weighty)))
    reach = (high - low) or abs(high) or 1.0
    width = _WIDTH * reach
    at = np.linspace(low - _BEYOND * reach, high + _BEYOND * reach, _DRAWN)
    curves = {split: density(nodes, at, width) for split, nodes in known.items()}
    for split, curve in curves.items():
        axes.plot(at, curve, dashes(split, [*known]), color="C0", label=f"{split} loss")
    single = 1 / (spectra.parameters * width * np.sqrt(2 * np.pi))
    most = max(float(curve.max()) for curve in curves.values())
    axes.set(yscale="log", xlim=(at[0], at[-1]), ylim=(_BELOW * single, _ABOVE * most))
    axes.grid(axis="both")


def _known(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those of the probes that are computed."""
    return nodes[np.isfinite(nodes).all(axis=(1, 2))]


def _words(spectra: Spectra, place: int) -> str:
    alpha, beta = (number(value) for value in spectra.place(place))
    said = rf"$\alpha$ = {alpha}"
    if spectra.beta is not None:
        said = rf"($\alpha$, $\beta$) = ({alpha}, {beta})"
    return Formatter.fix_minus(said)

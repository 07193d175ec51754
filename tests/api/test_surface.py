"""Results files as objects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import lossgrid
from lossgrid.api.surface import Surface
from lossgrid.engine.messages import PENDING
from lossgrid.errors import UserError
from lossgrid.run.steps import run
from lossgrid.store.spectra import Spectra
from tests.runs import plane, results
from tests.toy import toy_job
from tests.view.landscapes import ALPHA, line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("surface")
    assert run(toy_job(folder, grid=plane(7, 5))) == 0
    return folder


@pytest.fixture
def surface(folder: Path) -> lossgrid.Surface:
    return lossgrid.open(folder / "out" / "toy.vtkhdf")


def test_it_is_what_the_file_holds(surface: lossgrid.Surface, folder: Path) -> None:
    stored = results(folder)
    assert surface.shape == (5, 7)
    assert np.array_equal(surface.alpha, stored.alpha)
    assert surface.beta is not None
    assert np.array_equal(surface.beta, np.linspace(-1, 1, 5))
    assert dict(surface).keys() == stored.values.keys()
    assert np.array_equal(surface["train_loss"], stored.values["train_loss"])
    assert "grid:" in surface.job
    assert repr(surface).startswith("<lossgrid.Surface toy: 7 x 5 points of ")
    with pytest.raises(KeyError):
        surface["no_such"]


def test_the_minimum(surface: lossgrid.Surface) -> None:
    """Of the loss; the maximum of the accuracy."""
    for column, best in (("train_loss", np.min), ("train_accuracy", np.max)):
        found = surface.minimum(column)
        assert surface.beta is not None
        row, across = (
            list(axis).index(x)
            for axis, x in ((surface.beta, found.beta), (surface.alpha, found.alpha))
        )
        assert surface[column][row, across] == found.value == best(surface[column])
    assert surface.minimum() == surface.minimum("train_loss")
    with pytest.raises(UserError, match="train_los"):
        surface.minimum("train_los")


def test_measures(surface: lossgrid.Surface) -> None:
    assert surface.measure()["minimum"] == surface.minimum().value
    assert "area_2.5" in surface.measure("train_loss", levels=(2.5,))


def test_a_figure(surface: lossgrid.Surface, tmp_path: Path) -> None:
    figure = surface.plot("train_loss", "train_accuracy", kind="heat")
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    panels = [axes for axes in figure.axes if axes.get_xlabel()]
    assert len(panels) == 2
    assert panels[0].collections or panels[0].images


def test_figures_of_eigenvalues_and_layers() -> None:
    nodes = np.array([[[[-0.5, 10.0], [0.9, 0.1]]]])
    spectra = Spectra(np.zeros(1), np.zeros(1), {"train": nodes}, np.ones((1, 1), np.uint8), 1000)
    layers = {f"train_activation_mean@{layer}": ALPHA**2 for layer in ("stem", "fc")}
    surface = Surface(line(spectra=spectra, layers=layers))  # type: ignore[arg-type]
    for option, heading in (("spectrum", "eigenvalues"), ("layers", "train activation mean")):
        figure = surface.plot(**{option: True})
        assert figure.axes[0].get_title() == f"made: {heading}"


def test_a_notebook_shows_a_figure(surface: lossgrid.Surface) -> None:
    """A real kernel, in which nothing of matplotlib has been set up."""
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    code = f"import lossgrid; lossgrid.open({str(surface.path)!r}).plot()"
    notebook = NotebookClient(new_notebook(cells=[new_code_cell(code)]), timeout=250).execute()
    (shown,) = notebook.cells[0].outputs
    assert shown.data["image/png"]


def test_other_formats(surface: lossgrid.Surface, tmp_path: Path) -> None:
    import pandas
    import xarray

    with xarray.open_dataset(surface.save(tmp_path / "s.nc"), engine="scipy") as dataset:
        assert dataset["train_loss"].dims == ("beta", "alpha")
        for name, values in surface.items():
            assert np.array_equal(dataset[name].values, values)
        lowest = dataset["train_loss"].argmin(["beta", "alpha"])
        assert float(dataset["alpha"][lowest["alpha"]]) == surface.minimum().alpha
    table = pandas.read_csv(surface.save(tmp_path / "s.csv"))
    frame = surface.to_pandas()
    for name in ("alpha", "beta", *surface):
        assert table[name].to_numpy() == pytest.approx(frame[name].to_numpy(), rel=1e-15)
    for suffix in (".png", ".vti", ".html"):
        assert surface.save(tmp_path / f"s{suffix}").stat().st_size > 1000
    copy = lossgrid.open(surface.save(tmp_path / "copy.vtkhdf"))
    assert np.array_equal(copy["train_loss"], surface["train_loss"])
    with pytest.raises(UserError, match=r"must end in one of \.vtkhdf, "):
        surface.save(tmp_path / "s.doc")
    with pytest.raises(UserError, match="as many rows as columns"):
        surface.save(tmp_path / "s.npz")


def test_what_is_pending_is_nan(folder: Path, tmp_path: Path) -> None:
    import h5py

    copy = lossgrid.open(folder / "out" / "toy.vtkhdf").save(tmp_path / "part.vtkhdf")
    with h5py.File(copy, "r+") as file:
        file["lossgrid/status"][0, 1] = PENDING
    part = lossgrid.open(copy)
    assert np.isnan(part["train_loss"][0, 1])
    assert np.isfinite(part["train_loss"]).sum() == 34
    assert "1 points pending" in repr(part)


def test_torch_is_not_loaded_before_it_is_needed() -> None:
    program = "import sys, lossgrid; assert dir(lossgrid); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        lossgrid.nothing  # noqa: B018

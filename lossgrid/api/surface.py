"""A results file as an object: coordinates, values, figures, other formats."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import FAILED, PENDING
from lossgrid.errors import UserError
from lossgrid.measure.measures import Options as MeasureOptions
from lossgrid.measure.measures import measures
from lossgrid.store.results import Results, read_results
from lossgrid.store.trajectory import Trajectory
from lossgrid.view.relief import Look
from lossgrid.view.saving import whole
from lossgrid.view.snapshot import Snapshot, choose_column

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure
    from torch import nn


class Minimum(NamedTuple):
    """The lowest point of a surface (of an accuracy, the highest); beta is 0 on a line."""

    alpha: float
    beta: float
    value: float


class Surface(Mapping[str, NDArray[np.float64]]):
    """A landscape: a mapping of column names, such as test_loss, to values.

    Values are float64 of shape (ny, nx), or (nx,) for a line; NaN where pending or failed. They
    are read from the file when asked for, so that a surface is small, and shows what a run that
    is at work has stored by then.
    """

    def __init__(self, results: Results, home: TemporaryDirectory[str] | None = None) -> None:
        self._results = results
        self._home = home  # which lives as long as this does

    @property
    def path(self) -> Path:
        """The results file."""
        return self._results.path

    @property
    def alpha(self) -> NDArray[np.float64]:
        """Coordinates of the columns, shape (nx,)."""
        return self._results.alpha

    @property
    def beta(self) -> NDArray[np.float64] | None:
        """Coordinates of the rows, shape (ny,); None for a line."""
        return self._results.beta

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx) of a plane, (nx,) of a line."""
        return self._results.shape

    @property
    def status(self) -> NDArray[np.uint8]:
        """0 pending, 1 done, 2 failed, 3 interpolated; shape as the values."""
        return self._results.status

    @property
    def trajectories(self) -> Mapping[str, Trajectory]:
        """Training runs that are projected onto the plane, by name."""
        return self._results.trajectories

    @property
    def errors(self) -> Mapping[int, str]:
        """Why points failed, by their flat index, as far as the messages found room."""
        return self._results.errors()

    @property
    def job(self) -> str:
        """The job that it was computed by, as YAML with every default; none if converted: empty."""
        return self._results.attributes.get("job", "")

    def __getitem__(self, column: str) -> NDArray[np.float64]:
        """Values of a column; KeyError if there is none of that name."""
        status = self.status  # before the values, which a run stores first
        return np.where(np.isin(status, (PENDING, FAILED)), np.nan, self._results.values[column])

    def __iter__(self) -> Iterator[str]:
        """Names of the columns, in the job's order."""
        return iter(self._results.values)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self._results.values)

    def __repr__(self) -> str:
        """What it is, in a line."""
        size = " x ".join(map(str, reversed(self.shape)))
        pending = int((self.status == PENDING).sum())
        failed = self._results.count(FAILED)
        left = f", {pending} points pending" if pending else ""
        left += f", {failed} points failed" if failed else ""
        return f"<lossgrid.Surface {self._results.name}: {size} points of {', '.join(self)}{left}>"

    def minimum(self, column: str | None = None) -> Minimum:
        """The lowest point of a column (of an accuracy, the highest).

        Args:
            column: by default test_loss, else the first loss.

        Raises:
            UserError: no such column, or no value of it is finite.
        """
        snapshot = self._snapshot(column)
        snapshot.check_drawable()
        return Minimum(*snapshot.best_place, float(snapshot.values.flat[snapshot.best]))

    def measure(self, column: str | None = None, **options: Any) -> Mapping[str, float | None]:
        """Sharpness, basin, convexity, roughness and minima, as `lossgrid measure` gives them.

        Args:
            column: by default test_loss, else the first loss.
            **options: of `lossgrid.measure.measures.Options`: levels, epsilon, noise.

        Raises:
            UserError: no such column, or it can't be measured.
        """
        snapshot = self._snapshot(column)
        return measures(snapshot, replace(MeasureOptions((0.1, 1.0), 0.1, 0.05), **options))

    def plot(self, *columns: str, **options: Any) -> Figure:
        """The figure that `lossgrid plot` would write, for a notebook or `savefig`.

        Args:
            *columns: a panel each, or a curve each on a line; by default the main loss.
            **options: of `lossgrid.view.figures.options.Options`, such as kind="heat" or
                spectrum=True.

        Raises:
            UserError: nothing to draw, no such column, or matplotlib is missing.
        """
        with _needs("view", "matplotlib"):
            from lossgrid.view.figures.options import Options
            from lossgrid.view.figures.plot import drawn
        return drawn(self._results, Options(columns=columns, **options))

    def to_xarray(self) -> xarray.Dataset:
        """All columns, over the coordinates beta and alpha.

        Raises:
            UserError: xarray is missing.
        """
        from lossgrid.view.labelled import dataset

        columns = list(self)
        return dataset(Snapshot.of(self._results, columns[0], columns, stored=True))

    def to_pandas(self) -> pandas.DataFrame:
        """A row a point, with alpha, beta (unless it is a line) and all columns.

        Raises:
            UserError: pandas is missing.
        """
        with _needs("formats", "pandas"):
            import pandas
        across = np.meshgrid(self.alpha, [0.0] if self.beta is None else self.beta)
        names = ["alpha"] if self.beta is None else ["alpha", "beta"]
        places = {name: axis.ravel() for name, axis in zip(names, across, strict=False)}
        return pandas.DataFrame(places | {name: values.ravel() for name, values in self.items()})

    def save(self, output: str | Path, **options: Any) -> Path:
        """Write it in the format of the output's suffix.

        `.vtkhdf` is the results file itself, `.nc` netCDF, `.h5` as the reference code of Li et al.
        reads it, `.npz` as Landscaper does, `.csv` a table, `.vts`, `.vtp`, `.vti` for ParaView,
        `.html` an interactive page, `.png`, `.pdf` and `.svg` a figure.

        Args:
            output: the file.
            **options: of a figure, see `plot`; of .vts, .vtp and .npz, those of
                `lossgrid.view.relief.Look`.

        Raises:
            UserError: no such format, it can't hold this, or the file can't be written.
        """
        output = Path(output)
        write = _FORMATS.get(output.suffix.lower())
        if write is None:
            known = ", ".join(_FORMATS)
            raise UserError(f"{output}: a surface's name must end in one of {known}")
        write(self, output, **options)
        return output

    def save_directions(self, output: str | Path, model: nn.Module) -> Path:
        """Write the directions as the reference code of Li et al. reads them, its `--dir_file`.

        Args:
            output: the file, ending in .h5.
            model: whose landscape it is; says which parameters there are, in which order.

        Raises:
            UserError: the directions are of another model, move buffers or are several draws.
        """
        from lossgrid import reference

        output = Path(output)
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        with whole(output) as partial:
            reference.write_directions(partial, shapes, self._results.directions())
        return output

    def _snapshot(self, column: str | None) -> Snapshot:
        chosen = choose_column(self._results, column)
        return Snapshot.of(self._results, chosen, [chosen])

    def _save_itself(self, output: Path) -> None:
        with whole(output) as partial:
            shutil.copyfile(self.path, partial)

    def _export(self, output: Path, **look: Any) -> None:
        from lossgrid.view.export import export

        export([self._results], output, Look(**look))

    def _save_page(self, output: Path, column: str | None = None) -> None:
        from lossgrid.view.page import write_page

        write_page(self._results, column, output)

    def _save_figure(self, output: Path, **options: Any) -> None:
        with _needs("view", "matplotlib"):
            from lossgrid.view.figures.options import Options
            from lossgrid.view.figures.plot import plot
        plot(self._results, output, Options(**options))


_FORMATS: dict[str, Callable[..., None]] = {
    ".vtkhdf": Surface._save_itself,
    **dict.fromkeys([".csv", ".nc", ".h5", ".npz", ".vts", ".vtp", ".vti"], Surface._export),
    ".html": Surface._save_page,
    **dict.fromkeys([".png", ".pdf", ".svg"], Surface._save_figure),
}


@contextmanager
def _needs(extra: str, package: str) -> Iterator[None]:
    """Says how to get a package that is missing."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"needs {package}, which does not load ({error}): pip install 'lossgrid[{extra}]'"
        ) from error


def open(path: str | Path) -> Surface:
    """The surface in a results file, also while a run is writing it.

    Raises:
        UserError: there is none, it is cut short, or it was not made by lossgrid.
    """
    return Surface(read_results(Path(path)))

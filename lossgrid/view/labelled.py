"""Landscapes as xarray's data sets, and these as netCDF files."""

from __future__ import annotations

from pathlib import Path

from lossgrid.errors import UserError
from lossgrid.view.saving import whole
from lossgrid.view.snapshot import Snapshot

try:
    import xarray
except ImportError as missing:
    raise UserError(f"needs xarray ({missing}): pip install 'lossgrid[formats]'") from missing


def dataset(snapshot: Snapshot) -> xarray.Dataset:
    """All columns of a landscape, over the coordinates beta and alpha, or alpha alone."""
    coordinates = {"alpha": snapshot.alpha}
    axes: tuple[str, ...] = ("alpha",)
    if snapshot.beta is not None:
        coordinates["beta"] = snapshot.beta
        axes = ("beta", "alpha")
    values = {name: (axes, values) for name, values in snapshot.curves.items()}
    return xarray.Dataset(values, coordinates, {"name": snapshot.name})


def write(data: xarray.Dataset, output: Path) -> None:
    """Write a data set as netCDF 3, which everything reads.

    Raises:
        UserError: SciPy, which xarray writes it with, is missing, or the file can't be written.
    """
    with whole(output) as partial:
        try:
            data.to_netcdf(partial, engine="scipy")
        except ImportError as missing:
            raise UserError(
                f"netCDF needs scipy ({missing}): pip install 'lossgrid[formats]'"
            ) from missing

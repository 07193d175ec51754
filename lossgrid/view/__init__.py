"""What people look at: pictures of a results file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lossgrid.store.spectra import Spectra
    from lossgrid.store.trajectory import Trajectory

__all__ = ["Landscape"]


class Landscape(Protocol):
    """The part of a results file that a picture shows: a plane, or a line where beta is None."""

    @property
    def name(self) -> str:
        """Name of the job."""

    @property
    def alpha(self) -> NDArray[np.float64]:
        """Coordinates of the columns, shape (nx,)."""

    @property
    def beta(self) -> NDArray[np.float64] | None:
        """Coordinates of the rows, shape (ny,)."""

    @property
    def values(self) -> Mapping[str, NDArray[np.float64]]:
        """Column name -> values of shape (ny, nx), or (nx,) for a line."""

    @property
    def layers(self) -> Mapping[str, NDArray[np.float64]]:
        """Likewise what there is of each layer of the network: see `lossgrid.columns`."""

    @property
    def status(self) -> NDArray[np.uint8]:
        """0 pending, 1 done, 2 failed, 3 interpolated; shape as the values."""

    @property
    def attributes(self) -> Mapping[str, str]:
        """What the file says of itself: the job, when it was begun and so on."""

    @property
    def trajectories(self) -> Mapping[str, Trajectory]:
        """Training runs that are projected onto the plane or line, by name."""

    @property
    def spectra(self) -> Spectra | None:
        """How the Hessian's eigenvalues are spread at some places, if that was asked for."""

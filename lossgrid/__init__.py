"""lossgrid: the loss landscape of neural networks, computed on many ranks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossgrid.api import Surface, landscape, open

__all__ = ["Surface", "landscape", "open"]
__version__ = "0.1.0"

# HDF5 reads this once, when h5py loads. Its own locks would keep readers from a file that a run
# is writing; `store.lock` keeps runs apart instead.
os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"


def __getattr__(name: str) -> Any:
    """What programs use loads torch: only when it is asked for."""
    if name in __all__:
        from lossgrid import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

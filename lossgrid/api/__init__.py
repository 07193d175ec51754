"""lossgrid in programs and notebooks: landscapes of models in memory, surfaces of files."""

from __future__ import annotations

from lossgrid.api.compute import landscape
from lossgrid.api.surface import Surface, open

__all__ = ["Surface", "landscape", "open"]

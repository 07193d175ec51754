"""Figures for print, drawn with matplotlib: one module for each kind of figure."""

from __future__ import annotations

import importlib

from lossgrid.errors import UserError

try:
    importlib.import_module("matplotlib")
except ImportError as missing:
    raise UserError(
        f"figures need matplotlib ({missing}): pip install 'lossgrid[view]'"
    ) from missing

"""Recipes: callables that train a model in place when its checkpoint is missing."""

from __future__ import annotations

from lossgrid.train.digits import digits

__all__ = ["digits"]

"""Training by a file, and recipes: callables that train a model whose checkpoint is missing."""

from __future__ import annotations

from lossgrid.train.digits import digits

__all__ = ["digits"]

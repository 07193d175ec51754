"""How published checkpoints name the tensors of a layer."""

from __future__ import annotations


def norm(at: str) -> set[str]:
    """Of a BatchNorm, but for the count of its batches."""
    return {f"{at}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")}


def layer(at: str) -> set[str]:
    """Of a layer with a bias."""
    return {f"{at}.weight", f"{at}.bias"}

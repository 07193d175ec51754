"""Names of results, below all layers: how they are made up and taken apart."""

from __future__ import annotations

_OF = "@"


def of_layer(column: str, layer: str) -> str:
    """The name of a result that there is of each layer of the network."""
    return f"{column}{_OF}{layer}"


def layer_of(column: str) -> tuple[str, str]:
    """Such a result's name and layer; no layer where it is of the whole network."""
    result, _, layer = column.partition(_OF)
    return result, layer

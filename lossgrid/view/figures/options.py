"""What a user may ask of a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How a figure is to look; None or () is chosen by the values.

    Attributes:
        columns: what is drawn; by default test_loss, else the first loss (with the accuracy, on
            a line).
        kind: of a plane: filled (the default), lines or heat.
        logarithmic: levels, or the left axis of curves, by the logarithm of the value.
        levels: values of the contour lines.
        title: whether name, best point and what is missing stand above.
        trajectory: whether projected checkpoints are drawn, where there are any.
        arrows: whether arrows show where the loss falls most steeply.
        spectrum: whether the Hessian's eigenvalues are drawn instead.
        layers: whether what is known of each layer along a line is drawn instead.
        errors: whether curves lie in bands of two standard errors.
        style: a file of matplotlib's settings that differ from lossgrid's.
        size: width and height of the figure in inches.
    """

    columns: tuple[str, ...] = ()
    kind: str | None = None
    logarithmic: bool | None = None
    levels: tuple[float, ...] | None = None
    title: bool = True
    trajectory: bool = True
    arrows: bool = False
    spectrum: bool = False
    layers: bool = False
    errors: bool = False
    style: Path | None = None
    size: tuple[float, float] | None = None

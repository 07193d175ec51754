"""A column of values as a surface in space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.view.scale import Scale, scale_for

_HEIGHT_OF_WIDTH = 0.5


@dataclass(frozen=True)
class Look:
    """How a surface is to look; None is chosen by the values.

    Attributes:
        column: whose values are the height; by default test_loss, else the first loss.
        logarithmic: heights by the logarithm of the value.
        clamp: the largest value that is shown; what is above lies at it.
        stretch: height of one unit of value, or of one decade; 0 is flat.
        levels: values of the contour lines, ascending.
    """

    column: str | None = None
    logarithmic: bool | None = None
    clamp: float | None = None
    stretch: float | None = None
    levels: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Relief:
    """Turns values into heights; the lowest value shown lies at height 0.

    Attributes:
        shown: the range of values that is shown; what is outside lies at its ends.
        stretch: height of one unit of value, or of one decade where `shown` is logarithmic.
        levels: values at which there are contour lines, ascending, within `shown`.
    """

    shown: Scale
    stretch: float
    levels: tuple[float, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64], width: float, look: Look, fraction: bool) -> Relief:
        """The relief of a surface `width` wide: about half as high, if the look leaves it open.

        Raises:
            UserError: the look can't be had with these values.
        """
        shown = scale_for(values, fraction=fraction, logarithmic=look.logarithmic)
        if look.clamp is not None:
            if not look.clamp > shown.low:
                raise UserError(f"--clamp {look.clamp:g}: all values are above ({shown.low:g} on)")
            shown = replace(shown, high=min(look.clamp, shown.high))
        unscaled = cls(shown, 1.0, tuple(shown.line_levels(look.levels)))
        if look.stretch is not None:
            if not 0 <= look.stretch < np.inf:
                raise UserError(f"--scale {look.stretch:g}: is not a number from 0 up")
            return replace(unscaled, stretch=look.stretch)
        rise = float(unscaled.rise(np.array(shown.high)))
        flat = shown.constant or width <= 0
        return replace(unscaled, stretch=1.0 if flat else _HEIGHT_OF_WIDTH * width / rise)

    def rise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far values are above the lowest shown, in units or decades; NaN stays NaN."""
        shown = np.clip(values, self.shown.low, self.shown.high)
        if self.shown.logarithmic:
            return np.asarray(np.log10(shown) - np.log10(self.shown.low))
        return shown - self.shown.low

    def heights(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Heights of values, of the same shape; NaN stays NaN."""
        return self.stretch * self.rise(values)

    def words(self, column: str) -> str:
        """The height as a formula."""
        low = f"{self.shown.low:.6g}"
        rise = f"log10({column} / {low})" if self.shown.logarithmic else f"({column} - {low})"
        return f"{self.stretch:.4g} x {rise}"

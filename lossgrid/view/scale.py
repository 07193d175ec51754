"""The value axis of a picture: which range it shows, linear or logarithmic, and its levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError

_LOG_FROM_RATIO = 20.0
_DECADES_AROUND_MEDIAN = 8
_MOST_LINES = 14
_BOTTOM = 0.1
_CONSTANT = 1e-9
_TINY = 1e-300

HUGE = 1e300
"""What is above is shown as this."""


@dataclass(frozen=True)
class Scale:
    """The range [low, high] of values that is shown.

    `logarithmic` when it spans magnitudes; a `fraction` is written as a percentage.
    """

    low: float
    high: float
    logarithmic: bool
    fraction: bool = False

    @property
    def constant(self) -> bool:
        """True when all values are the same up to rounding."""
        spread = _CONSTANT * max(abs(self.low), abs(self.high))
        return self.high - self.low <= max(spread, _TINY)

    def line_levels(self, wanted: Sequence[float] | None = None) -> list[float]:
        """Levels strictly between low and high: those wanted, else round ones, few enough to label.

        Linear ones are steps; where these miss the bottom of a loss, 0.1 is the first level, as in
        Li et al. (arXiv:1712.09913).
        """
        if self.constant:
            return []
        if wanted is not None:
            return sorted({level for level in wanted if self.low < level < self.high})
        candidates = self._log_rounds() if self.logarithmic else self._linear_rounds()
        margin = 1e-9 * (self.high - self.low)
        return [level for level in candidates if self.low < level < self.high - margin]

    def text(self, value: float) -> str:
        """A value in a few characters."""
        return f"{100 * value:.4g} %" if self.fraction else number(value)

    def _log_rounds(self) -> list[float]:
        first, last = int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high)))
        decades = last - first
        digits: tuple[int, ...] = (1, 2, 5) if 3 * decades <= _MOST_LINES else (1, 3)
        if 2 * decades > _MOST_LINES:
            digits = (1,)
        every = 1 + decades // _MOST_LINES
        powers = range(first, last + 1, every)
        return [float(f"{digit}e{power}") for power in powers for digit in digits]

    def _linear_rounds(self) -> list[float]:
        rough = (self.high - self.low) / _MOST_LINES
        unit = 10.0 ** np.floor(np.log10(rough))
        step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough)
        first = int(np.floor(self.low / step))
        last = int(np.ceil(self.high / step))
        steps = [float(f"{count * step:.12g}") for count in range(first, last + 1)]
        misses_bottom = 0 <= self.low < _BOTTOM <= step / 2
        return [_BOTTOM, *steps[1:]] if misses_bottom else steps


def scale_for(
    values: NDArray[np.float64], *, fraction: bool, logarithmic: bool | None = None
) -> Scale:
    """The scale that suits all finite `values` (any shape, at least one is finite).

    Losses that span more than a factor of 20 get logarithmic levels, at most eight decades to
    either side of the median, so that zeros and diverged corners don't flatten the rest; a
    `fraction` such as accuracy is always linear. `logarithmic` says which instead.

    Raises:
        UserError: a logarithmic scale is asked for, and no value is positive.
    """
    finite = np.clip(values[np.isfinite(values)], -HUGE, HUGE)
    low, high = float(finite.min()), float(finite.max())
    positive = finite[finite > _TINY]
    if logarithmic is None:
        spans = positive.size > 0 and high > _LOG_FROM_RATIO * float(positive.min())
        logarithmic = spans and low >= 0 and not fraction
    if not logarithmic:
        return Scale(low, high, logarithmic=False, fraction=fraction)
    if positive.size == 0:
        raise UserError(f"no logarithmic scale fits: no value is positive (most: {high:g})")
    middle = float(np.median(positive))
    reach = 10.0**_DECADES_AROUND_MEDIAN
    low = max(float(positive.min()), middle / reach)
    return Scale(low, min(high, middle * reach), logarithmic=True, fraction=fraction)


def number(value: float) -> str:
    """`value` in a few characters; powers of ten as such."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    factor = f"{float(mantissa):g}"
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if factor == "1" else rf"${factor}\times{power}$"

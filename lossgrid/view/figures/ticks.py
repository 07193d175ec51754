"""Which places of an axis are labelled."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import FixedLocator, MaxNLocator

MOST_STEPS = 4  # between the labelled places of an axis
STEPS = (1, 2, 5, 10)
_TIGHT = 1.5  # ticks on a colour bar for each that matplotlib would put there


class Levels(FixedLocator):
    """All levels, or every second or third where there is no room for their labels."""

    def tick_values(self, vmin: Any, vmax: Any) -> Any:
        """The levels that are labelled."""
        self.nbins = max(2, int(_TIGHT * self.axis.get_tick_space()))  # type: ignore[union-attr]
        return super().tick_values(vmin, vmax)


class Few(MaxNLocator):
    """Round places along a horizontal axis, fewer where there is no room for their labels."""

    def __init__(self) -> None:
        super().__init__(MOST_STEPS, steps=STEPS)

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """The places that are labelled."""
        assert self.axis is not None
        self.set_params(nbins=max(1, min(MOST_STEPS, self.axis.get_tick_space())))
        return super().tick_values(vmin, vmax)

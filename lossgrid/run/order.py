"""What rank 0 tells all ranks to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """What every rank is to do.

    Attributes:
        compute: anything at all.
        parallel: write its own points.
        owner: by which it knows the file of per-sample values that belongs to the results.
        epoch: of the plan that points are computed with.
        no_smaller: why no smaller plan can follow this one; none if one can.
    """

    compute: bool
    parallel: bool
    owner: str
    epoch: int
    no_smaller: str | None

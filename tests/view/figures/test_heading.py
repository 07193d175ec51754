from __future__ import annotations

import numpy as np
import pytest

from lossgrid.view.figures.heading import best_note
from lossgrid.view.figures.plane import planes_of
from tests.view.landscapes import ALPHA, BOWL, Made, line, plane


def note(made: Made) -> str:
    return best_note(planes_of(made, ())[0]).replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (plane(), r"$\bigstar$ minimum 0.01 at ($\alpha$, $\beta$) = (1.5, 0.25)"),
        (
            plane(values={"test_accuracy": 1 / (1 + BOWL)}),
            r"$\bigstar$ maximum 99.01 % at ($\alpha$, $\beta$) = (1.5, 0.25)",
        ),
        (
            line(values={"test_loss": (ALPHA + 1) ** 2 - 3}),
            r"$\bigstar$ minimum -3 at $\alpha$ = -1",
        ),
        (plane(values={"test_loss": np.full(BOWL.shape, 2.3)}), "constant: 2.3"),
        (plane(values={"test_samples": BOWL}), ""),
    ],
)
def test_the_best_point_is_named_where_there_is_one(made: Made, text: str) -> None:
    assert note(made) == text


def test_a_value_without_its_status_is_not_shown() -> None:
    values, status = BOWL.copy(), np.ones(BOWL.shape, np.uint8)
    values[4, 4], status[4, 4] = -5.0, 0
    assert "minimum 0.01 at" in note(plane(values={"test_loss": values}, status=status))

"""When a worker sends what it has of a chunk."""

from __future__ import annotations

import numpy as np
import pytest

from lossgrid.engine.messages import Chunk
from lossgrid.engine.worker import is_part

CHUNK = Chunk(1, np.arange(100), seconds=2.0)


@pytest.mark.parametrize(
    ("taken", "left", "sent"),
    [
        (1.9, 50.0, False),  # it is not time yet
        (2.1, 50.0, True),
        (2.1, 0.5, True),  # another second is to come
        (2.1, 0.4, False),  # which is not worth a message of its own
        (4.0, 0.4, True),
    ],
)
def test_parts_are_long_and_little_comes_with_the_rest(
    taken: float, left: float, sent: bool
) -> None:
    assert is_part(CHUNK, taken, left) is sent

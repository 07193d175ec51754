from __future__ import annotations

from threading import Event, Timer

import pytest
import torch
from torch import Tensor

from lossgrid.curvature.summing import Summing
from lossgrid.data import Split
from lossgrid.errors import DroppedError
from lossgrid.evaluate.batches import Batch


def summing(lanes: int, samples: int = 20) -> Summing:
    split = Split(torch.zeros(samples, 1), torch.zeros(samples))
    return Summing({"train": split}, 5, lanes)


@pytest.mark.parametrize("lanes", [1, 3])
def test_batches_are_added_in_their_order(lanes: int) -> None:
    """In any other order these numbers have another sum."""
    numbers = {0: 1e16, 5: 1.0, 10: -1e16, 15: 1.0}

    def work(batch: Batch) -> Tensor:
        return torch.tensor([numbers[batch.fresh]], dtype=torch.float64)

    assert summing(lanes).over("train", work).tolist() == [1.0]


def test_batches_that_have_not_begun_are_dropped() -> None:
    """What is dropped is left within a batch of each lane."""
    begun: list[int] = []
    two, go_on = Event(), Event()

    def work(batch: Batch) -> Tensor:
        begun.append(batch.fresh)
        if len(begun) > 2:
            two.set()
            assert go_on.wait(60)
        return torch.zeros(1)

    def unwanted() -> bool:
        assert two.wait(60)
        Timer(0.5, go_on.set).start()
        return True

    dropping = summing(2, samples=100)
    dropping.unwanted = unwanted
    with pytest.raises(DroppedError):
        dropping.over("train", work)
    assert len(begun) <= 4

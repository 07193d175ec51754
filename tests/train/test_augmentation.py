from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.train.augmentation import cropped, mirrored
from lossgrid.train.draws import draw


@given(
    shape=st.tuples(*(st.integers(1, 5) for _ in range(4))),
    border=st.integers(0, 3),
    seed=st.integers(0, 99),
    channels_last=st.booleans(),
)
def test_crops_are_windows_of_the_image_in_its_border(
    shape: tuple[int, int, int, int], border: int, seed: int, channels_last: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)
    top, left = torch.randint(2 * border + 1, (2, shape[0]), generator=generator)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    found = cropped(images.contiguous(memory_format=layout), border, top, left).numpy()
    around = [(0, 0), (0, 0), (border, border), (border, border)]
    padded = np.pad(images.numpy(), around)
    for image, (y, x) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        window = padded[image, :, y : y + shape[2], x : x + shape[3]]
        assert np.array_equal(found[image], window)


@given(which=st.lists(st.booleans(), min_size=1, max_size=6))
def test_only_the_chosen_are_mirrored(which: list[bool]) -> None:
    images = torch.arange(len(which) * 24.0).view(len(which), 2, 3, 4)
    found = mirrored(images, torch.tensor(which))
    for before, after, swapped in zip(images, found, which, strict=True):
        expected = before.numpy()[:, :, ::-1] if swapped else before.numpy()
        assert np.array_equal(after.numpy(), expected)


@given(
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(1, 10**6),
    samples=st.integers(1, 50),
    border=st.integers(0, 4),
)
def test_draws_are_of_their_range(seed: int, epoch: int, samples: int, border: int) -> None:
    drawn = draw(seed, epoch, samples, 3, border)
    assert sorted(drawn.order.tolist()) == list(range(samples))
    for corner in (drawn.top, drawn.left):
        assert corner.shape == (samples,)
        assert 0 <= int(corner.min()) <= int(corner.max()) <= 2 * border
    assert drawn.mirrored.shape == (samples,)
    assert len(set(drawn.seeds)) == 3


def test_every_window_is_as_likely() -> None:
    drawn = draw(0, 1, 100_000, 1, 4)
    for corner in (drawn.top, drawn.left):
        shares = corner.bincount(minlength=9) / 100_000
        assert (shares - 1 / 9).abs().max() < 0.005
    assert abs(float(drawn.mirrored.double().mean()) - 0.5) < 0.01


def test_draws_differ_by_seed_and_epoch_and_by_nothing_else() -> None:
    def numbers(seed: int, epoch: int) -> list[int]:
        drawn = draw(seed, epoch, 20, 2, 4)
        columns = (drawn.order, drawn.top, drawn.left, drawn.mirrored)
        return [*torch.cat([column.long() for column in columns]).tolist(), *drawn.seeds]

    assert numbers(3, 7) == numbers(3, 7)
    assert len({tuple(numbers(seed, epoch)) for seed in (0, 1, 2) for epoch in (1, 2)}) == 6

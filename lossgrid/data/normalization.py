"""The normalization that turns stored pixels into what a network reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from lossgrid.errors import UserError


@dataclass(frozen=True)
class ImageNormalization:
    """(x / scale - mean) / std, channel by channel.

    Attributes:
        mean: of each channel of x / scale.
        std: of each channel of x / scale.
        scale: the pixel value that stands for 1.

    Raises:
        UserError: if mean and std differ in length, or std or scale are not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise UserError(
                f"mean has {len(self.mean)} and std has {len(self.std)} values: "
                "give one of each for every channel"
            )
        if not all(value > 0 for value in (*self.std, self.scale)):
            raise UserError(
                f"std {list(self.std)} and scale {self.scale} of the image normalization "
                "must be positive"
            )

    def __call__(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Normalize uint8 images of shape (n, C, H, W); the result is of type ``dtype``."""
        values = images.to(dtype, copy=True)
        mean, std = (
            _per_pixel(numbers, values.shape[1:], values.stride()[1:], images.device, dtype)
            for numbers in (self.mean, self.std)
        )
        return values.div_(self.scale).sub_(mean).div_(std)


@cache  # a copy to a GPU would make the host wait for it at every batch
def _per_pixel(
    values: tuple[float, ...],
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """The channels' values as an image in memory like those of a batch.

    With one value a channel, images whose channels lie together would be gone through three
    numbers at a time.
    """
    pixels = torch.empty_strided(shape, stride, dtype=dtype, device=device)
    return pixels.copy_(torch.tensor(values, dtype=dtype).view(-1, 1, 1))

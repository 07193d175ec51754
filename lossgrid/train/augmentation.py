"""Images shifted and mirrored at random, a batch at a time, on their device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cropped(images: Tensor, border: int, top: Tensor, left: Tensor) -> Tensor:
    """Windows of an image's own size, of images that get a border of zeros.

    Args:
        images: (n, C, H, W), of any type.
        border: pixels on each side.
        top: int64 (n,), the window's first row, from 0 to 2 ``border``.
        left: likewise its first column.

    Returns: (n, C, H, W).
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (border,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (n, C, top, left, H, W), a view
    rows = torch.arange(len(images), device=images.device)
    return windows[rows, :, top, left]


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Images of shape (n, C, H, W), those of ``which`` (bool, (n,)) with left and right swapped."""
    return torch.where(which.view(-1, 1, 1, 1), images.flip(3), images)

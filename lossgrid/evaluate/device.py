"""The device that a rank computes on, set to give the same bits every time."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lossgrid.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""

SMALLEST_RETURNED = 1 << 18
"""Bytes of a tensor whose memory is given back while a rank prepares."""

LARGEST_KEPT = 1 << 25
"""Bytes of a tensor whose memory is kept while it computes; glibc allows no more."""

MOST_KEPT = 1 << 30
"""Bytes of free memory that are kept."""


def own_device(wanted: str, local_rank: int, local_size: int, share: bool) -> torch.device:
    """The device of one of `local_size` ranks on a node.

    Args:
        wanted: cpu, cuda, or auto for cuda where there is a GPU.
        local_rank: of this rank on its node; chooses among the node's GPUs.
        local_size: ranks on the node.
        share: whether several ranks may use one GPU.

    Raises:
        UserError: no GPU, or more ranks than GPUs and sharing was not asked for.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device: cuda, but torch sees no GPU here; install a CUDA build of torch "
            "(pytorch.org shows the command for your driver), or set device: cpu"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        torch.set_num_threads(1)  # see Plan: cores are used by lanes
        _return_memory()
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if local_size > count and not share:
        raise UserError(
            f"{local_size} ranks on {os.uname().nodename} share {count} GPU(s); start at most "
            "one rank a GPU, or allow sharing with --set runtime.share_gpus=true"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    _allow_tf32(False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # which nobody reads
    return torch.device("cuda", local_rank % count)


@contextmanager
def tf32() -> Iterator[None]:
    """In which GPUs multiply matrices and convolve in TF32: float32 with 10 bits of mantissa."""
    _allow_tf32(True)
    try:
        yield
    finally:
        _allow_tf32(False)


def has_tf32(device: torch.device) -> bool:
    """Whether it is a GPU with TF32: NVIDIA's since Ampere."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _return_memory() -> None:
    """Let large tensors' memory go back when they are freed, until `keep_memory`.

    Where small objects that stay are made between them, as in recording, each would else leave a
    gap that is too small for the next.
    """
    _set_malloc(M_MMAP_THRESHOLD, SMALLEST_RETURNED)


def keep_memory(device: torch.device) -> None:
    """Let memory that a batch frees be there for the next one; call it before points are computed.

    It would go back to the system otherwise, which gives it anew page by page and filled with
    zeros: up to a quarter of a batch's time.
    """
    if device.type == "cpu":
        _set_malloc(M_MMAP_THRESHOLD, LARGEST_KEPT)
        _set_malloc(M_TRIM_THRESHOLD, MOST_KEPT)


def _set_malloc(option: int, size: int) -> None:
    """Of the C library, where that is glibc."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(option, size)


def lanes(device: torch.device, cores: int) -> int:
    """Batches to run at a time: one a core of this rank, OMP_NUM_THREADS if it is set."""
    if device.type != "cpu":
        return 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else cores


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed

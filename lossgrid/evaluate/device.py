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

LARGEST_KEPT = 1 << 25
"""Bytes of a tensor whose memory is kept; glibc allows no more."""

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
            "evaluation.device: cuda, but torch sees no GPU here; install a CUDA build of torch "
            "(pytorch.org shows the command for your driver), or set evaluation.device: cpu"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        torch.set_num_threads(1)  # see Plan: cores are used by lanes
        _keep_memory()
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


def _keep_memory() -> None:
    """Let memory that a batch frees be there for the next one, where the C library is glibc.

    It would go back to the system otherwise, which gives it anew page by page and filled with
    zeros: up to a quarter of a batch's time.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        library.mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


def lanes(device: torch.device, cores: int) -> int:
    """Batches to run at a time: one a core of this rank, OMP_NUM_THREADS if it is set."""
    if device.type != "cpu":
        return 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else cores


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed

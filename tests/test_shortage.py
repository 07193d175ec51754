"""A lack of memory has one name, and says what did not fit and what would help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lossgrid.errors import OutOfMemoryError, UserError
from lossgrid.shortage import fitting, shortage_named
from tests.mpi import MPICH_WHEEL, TWO_NODES, mpirun
from tests.toy import toy_job


def raise_(error: Exception) -> None:
    raise error


def raise_from(error: Exception, cause: Exception) -> None:
    raise error from cause


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: torch.empty(1 << 58),
        lambda: np.empty(1 << 58),
        lambda: raise_(MemoryError()),
        lambda: raise_(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")),
        lambda: raise_(RuntimeError("CUDA error: out of memory")),
        lambda: raise_(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")),
        lambda: raise_(RuntimeError("std::bad_alloc")),
        lambda: raise_from(UserError("the file may have been cut short"), MemoryError()),
    ],
)
def test_a_lack_of_memory_has_one_name(attempt: Callable[[], object]) -> None:
    with pytest.raises(OutOfMemoryError, match=r"^out of memory: ") as told, shortage_named():
        attempt()
    assert not isinstance(told.value.__cause__, OutOfMemoryError)
    with pytest.raises(OutOfMemoryError) as again, shortage_named():
        raise told.value
    assert again.value is told.value


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("not enough memory"), KeyError("memory")]
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as told, shortage_named():
        raise error
    assert told.value is error


def test_what_does_not_fit_is_named_once() -> None:
    said = r"^data.test: out of memory: .*use fewer samples"
    with pytest.raises(OutOfMemoryError, match=said), fitting("data.test"):
        np.empty(1 << 58)
    with pytest.raises(UserError, match=r"^none of its business$"), fitting("data.test"):
        raise UserError("none of its business")


@pytest.mark.parametrize("victim", [0, 1])
def test_data_that_do_not_fit_end_a_run_by_one_sentence(victim: int, tmp_path: Path) -> None:
    data = {"train": {"factory": "toy.py:vast", "kwargs": {"rank": victim}}}
    job = toy_job(tmp_path, data=data)
    environment = MPICH_WHEEL.environment() | TWO_NODES  # each of which loads for itself
    args = ["-m", "lossgrid", "run", job]
    done = mpirun(MPICH_WHEEL, 2, args, timeout=120, env=environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"lossgrid: rank {victim} on ")
    assert "data.train: out of memory: " in line
    assert "use fewer samples of the data, start fewer ranks a node" in line

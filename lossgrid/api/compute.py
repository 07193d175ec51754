"""The landscape of a model in memory, computed by the same engine as a job file's."""

from __future__ import annotations

import copy
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from lossgrid.agree import StoppedError
from lossgrid.api.given import given, spec
from lossgrid.api.surface import Surface
from lossgrid.engine import world as worlds
from lossgrid.engine.deaths import OrphanedError
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.world import World
from lossgrid.errors import UserError
from lossgrid.exits import UNFINISHED
from lossgrid.job import Job, make_job
from lossgrid.lead import Lead
from lossgrid.run import take_part
from lossgrid.store.results import read_results

if TYPE_CHECKING:
    from mpi4py import MPI

LOG = logging.getLogger("lossgrid")
"""Is told at level INFO what the command would say."""

Range = tuple[float, float]


def landscape(
    model: nn.Module,
    data: Any,
    *,
    loss: str | Callable[..., Any] = "cross_entropy",
    metrics: Mapping[str, Callable[..., Any]] | Sequence[str] | None = None,
    points: int | tuple[int, int] = 51,
    alpha: Range = (-1.0, 1.0),
    beta: Range | None = (-1.0, 1.0),
    seed: int = 0,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    comm: MPI.Comm | None = None,
    **sections: Any,
) -> Surface:
    """Compute the loss at theta + alpha d1 + beta d2, for random filter-normalized d1 and d2.

    Needs neither MPI nor a job file. The model is copied and stays as it is.

    Args:
        model: in any mode, on any device; it is evaluated in eval mode.
        data: (inputs, targets), each a tensor with one row a sample or a pytree of them; a
            `lossgrid.data.Split`; a map-style Dataset of such pairs; a DataLoader, whose Dataset
            is read; or several of these by name, such as {"train": ..., "test": ...}. A single
            one is called train.
        loss: cross_entropy, mse, "module:callable", or a function of outputs and targets of n
            samples that returns n losses.
        metrics: what is computed beside the loss: accuracy and so on, or functions like `loss`
            by name. By default the accuracy if the loss is cross_entropy, else nothing.
        points: along both axes, or (of alpha, of beta).
        alpha: least and largest alpha.
        beta: likewise; None for a line along alpha.
        seed: of the random directions.
        output: a .vtkhdf file, continued if it is there; by default a temporary one, which goes
            when the surface does.
        overwrite: start anew, even if there are results.
        progress: whether to show a bar.
        comm: an MPI communicator whose ranks share the work; all call this with the same
            arguments, and an `output` that all of them reach.
        **sections: further sections of a job file by name, such as
            `evaluation={"precision": "bfloat16"}`, `directions={"kind": "between",
            "checkpoints": ["other.pt"]}` or `curvature={"gradient": {}}`.

    Returns: the surface; points that failed are NaN in it.

    Raises:
        UserError: bad input, in one sentence.
        KeyboardInterrupt: Ctrl-C; what was computed is in `output`, if there is one.
    """
    home = None if output is not None else tempfile.TemporaryDirectory(prefix="lossgrid-")
    path = Path(home.name, "landscape.vtkhdf") if home else Path(str(output))
    splits = _splits(data)
    callables, settings = _model_and_data(model, splits)
    more, rest = _loss_and_metrics(loss, metrics)
    settings |= rest | {"grid": _grid(points, alpha, beta), "output": str(path.absolute())}
    settings |= {"directions": {"seed": seed}} | sections

    def read() -> Job:
        return make_job(settings, Path.cwd(), "landscape")

    world = worlds.alone() if comm is None else worlds.joined(comm.Dup())
    if world.size > 1 and home is not None:
        raise UserError("landscape: several ranks need an output that all of them reach; name it")
    with given(callables | more), _threads_kept():
        _compute(world, read, overwrite, progress)
    return Surface(read_results(path), home)


def _compute(world: World, read: Callable[[], Job], overwrite: bool, progress: bool) -> None:
    with ExitStack() as stack:
        stopping = StopRequest()
        if threading.current_thread() is threading.main_thread():  # where signals arrive
            stack.enter_context(stopping)
        console = Console(stderr=True, quiet=not progress)
        lead = None
        if world.rank == 0:
            lead = Lead(world, stack, stopping, read, overwrite, console, LOG.info)
        try:
            status = take_part(world, stopping, lead)
        except StoppedError:
            raise UserError("landscape: rank 0 has stopped, and says why") from None
        except OrphanedError:
            raise UserError("landscape: rank 0 has died") from None
    if status == UNFINISHED:
        raise KeyboardInterrupt


def _splits(data: Any) -> dict[str, Any]:
    """The data by name."""
    by_name = data if isinstance(data, Mapping) else {"train": data}
    return {
        name: split.dataset if isinstance(split, DataLoader) else split
        for name, split in by_name.items()
    }


def _model_and_data(
    model: nn.Module, splits: Mapping[str, Any]
) -> tuple[dict[str, Callable[..., Any]], dict[str, Any]]:
    """What is handed over, and the sections of a job that name it."""
    callables: dict[str, Callable[..., Any]] = {"model": lambda: copy.deepcopy(model)}
    callables |= {f"data_{name}": (lambda made=made: made) for name, made in splits.items()}
    sections = {name: {"factory": spec(f"data_{name}")} for name in splits}
    return callables, {"model": {"factory": spec("model")}, "data": sections}


def _loss_and_metrics(
    loss: str | Callable[..., Any],
    metrics: Mapping[str, Callable[..., Any]] | Sequence[str] | None,
) -> tuple[dict[str, Callable[..., Any]], dict[str, Any]]:
    """Likewise."""
    callables: dict[str, Callable[..., Any]] = {}
    settings: dict[str, Any] = {"loss": loss}
    if callable(loss):
        callables["own_loss"] = loss
        settings["loss"] = spec("own_loss")
    if isinstance(metrics, Mapping):
        callables |= metrics
        settings["metrics"] = ["loss", *map(spec, metrics)]
    elif metrics is not None:
        settings["metrics"] = ["loss", *(name for name in metrics if name != "loss")]
    return callables, settings


def _grid(points: int | tuple[int, int], alpha: Range, beta: Range | None) -> dict[str, Any]:
    across, down = (points, points) if isinstance(points, int) else points
    grid = {"alpha": {"min": alpha[0], "max": alpha[1], "points": across}}
    if beta is not None:
        grid["beta"] = {"min": beta[0], "max": beta[1], "points": down}
    return grid


@contextmanager
def _threads_kept() -> Iterator[None]:
    """The evaluation takes torch's threads for its own batches."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""The landscape of a model in memory, computed by the same engine as a job file's."""

from __future__ import annotations

import logging
import operator
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, default_collate

from lossgrid.api.given import given, spec
from lossgrid.api.surface import Surface
from lossgrid.data import Collated
from lossgrid.engine import world as worlds
from lossgrid.engine.deaths import OrphanedError
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.world import World
from lossgrid.errors import UserError
from lossgrid.exits import UNFINISHED
from lossgrid.job import Job, make_job
from lossgrid.problem.copies import copied
from lossgrid.problem.factory import seeded, user_errors
from lossgrid.run.agree import StoppedError
from lossgrid.run.lead import Lead
from lossgrid.run.steps import AbandonedError, take_part
from lossgrid.store.results import read_results

if TYPE_CHECKING:
    from mpi4py import MPI

LOG = logging.getLogger("lossgrid")
"""Is told at level INFO what the command would say."""

Range = tuple[float, float]

STOPPED = "landscape: rank 0 has stopped, and says why"


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
    handed, settings = _named(model, splits, loss, metrics)
    settings |= {"grid": _grid(points, alpha, beta), "output": str(path.absolute())} | sections
    directions = sections.get("directions", {})
    if isinstance(directions, Mapping) and directions.get("kind", "random") == "random":
        settings["directions"] = {"seed": _whole("seed", seed), **directions}

    def read() -> Job:
        return make_job(settings, Path.cwd(), "landscape")

    world = worlds.alone() if comm is None else worlds.joined(comm.Dup())
    if world.size > 1 and home is not None:
        raise UserError("landscape: several ranks need an output that all of them reach; name it")
    with given(handed), _threads_kept(), seeded(), torch.inference_mode(False):
        _compute(world, read, overwrite, progress)
    surface = Surface(read_results(path), home)
    if failed := surface.errors:
        LOG.warning("%d points failed, first with: %s", len(failed), next(iter(failed.values())))
    return surface


def _compute(world: World, read: Callable[[], Job], overwrite: bool, progress: bool) -> None:
    with ExitStack() as stack:
        stopping = StopRequest((signal.SIGINT,))  # others are the program's own
        if threading.current_thread() is threading.main_thread():  # where signals arrive
            stack.enter_context(stopping)
        console = Console(stderr=True, quiet=not progress)
        lead = None
        if world.rank == 0:
            lead = Lead(world, stack, stopping, read, overwrite, console, LOG.info)
        try:
            status = take_part(world, stopping, lead)
        except StoppedError:
            raise UserError(STOPPED) from None
        except AbandonedError as left:
            told = STOPPED if isinstance(left.__cause__, StoppedError) else str(left.__cause__)
            raise UserError(told) from None
        except OrphanedError:
            raise UserError("landscape: rank 0 has died") from None
    if status == UNFINISHED:
        raise KeyboardInterrupt


def _splits(data: Any) -> dict[str, Any]:
    """The data by name."""
    by_name = data if isinstance(data, Mapping) else {"train": data}
    return {
        name: _dataset(name, split) if isinstance(split, DataLoader) else split
        for name, split in by_name.items()
    }


def _dataset(name: str, loader: DataLoader[Any]) -> Any:
    """What a DataLoader reads, if that is all that matters."""
    sampler = loader.sampler
    draws_all = isinstance(sampler, SequentialSampler) or (
        isinstance(sampler, RandomSampler)
        and not sampler.replacement
        and sampler.num_samples == len(loader.dataset)  # type: ignore[arg-type]
    )
    if not draws_all:
        raise UserError(
            f"landscape: data {name}: its DataLoader has a sampler of its own; hand over what it "
            "draws: (inputs, targets)"
        )
    if loader.collate_fn is default_collate:
        return loader.dataset
    with user_errors(f"landscape: data {name}: reading its Dataset"), seeded():
        items = [loader.dataset[index] for index in range(len(loader.dataset))]  # type: ignore[arg-type]
    return Collated.of(items, loader.collate_fn)


def _named(
    model: nn.Module,
    splits: Mapping[str, Any],
    loss: str | Callable[..., Any],
    metrics: Mapping[str, Callable[..., Any]] | Sequence[str] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is handed over, and the sections of a job that name it."""
    handed: dict[str, Any] = {
        "model": lambda: copied(model),
        "data": SimpleNamespace(**{n: (lambda made=made: made) for n, made in splits.items()}),
    }
    settings: dict[str, Any] = {
        "model": {"factory": spec("model")},
        "data": {name: {"factory": spec(f"data.{name}")} for name in splits},
        "loss": loss,
    }
    if callable(loss):
        handed["loss"] = loss
        settings["loss"] = spec("loss")
    if isinstance(metrics, Mapping):
        for name in metrics:
            if not name.isidentifier():
                raise UserError(f"landscape: metrics: {name!r} is no name: letters, digits and _")
        handed["metrics"] = SimpleNamespace(**metrics)
        settings["metrics"] = ["loss", *(spec(f"metrics.{name}") for name in metrics)]
    elif metrics is not None:
        settings["metrics"] = ["loss", *(name for name in metrics if name != "loss")]
    return handed, settings


def _grid(points: int | tuple[int, int], alpha: Range, beta: Range | None) -> dict[str, Any]:
    both = points if isinstance(points, tuple | list) else (points, points)
    if len(both) != 2:
        raise UserError("landscape: points: expected a number, or one for alpha and one for beta")
    axes = {"alpha": (alpha, both[0])} | ({} if beta is None else {"beta": (beta, both[1])})
    grid = {}
    for name, (ends, number) in axes.items():
        try:
            least, most = map(float, ends)
        except (TypeError, ValueError):
            raise UserError(f"landscape: {name}: expected two numbers, such as (-1, 1)") from None
        grid[name] = {"min": least, "max": most, "points": _whole("points", number)}
    return grid


def _whole(name: str, number: Any) -> int:
    try:
        return operator.index(number)
    except TypeError:
        raise UserError(f"landscape: {name}: found {number!r}, expected an integer") from None


@contextmanager
def _threads_kept() -> Iterator[None]:
    """The evaluation takes torch's threads for its own batches."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)

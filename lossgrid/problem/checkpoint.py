"""Checkpoint files: state_dicts on disk."""

from __future__ import annotations

import glob
import importlib
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lossgrid.durable import durable
from lossgrid.errors import UserError, summary

State = Mapping[str, Tensor]

KEYS = ("state_dict", "model_state_dict", "model")
"""Where a training script's own dictionary may hold the state_dict."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the state_dict that a checkpoint file holds, onto the CPU.

    A file of ``torch.save`` holds a state_dict, or a dictionary with one under "state_dict",
    "model_state_dict" or "model"; a .safetensors file holds its tensors. Names that all begin
    with "module.", as DataParallel writes them, lose it. Nothing in the file is executed.

    Raises:
        UserError: if the file is missing, cut short or something else, or if the safetensors
            package is needed and not installed.
    """
    return _state(read_content(path), path)


@dataclass(frozen=True)
class Opened:
    """A checkpoint of which only what is looked at is read from the disk.

    Attributes:
        state: tensors by name; the model's own where no file need hold one.
        epoch: the file's own entry of that name, if it has one.
        learning_rate: likewise, or `lr`.
    """

    state: State
    epoch: float | None
    learning_rate: float | None


def open_checkpoint(path: Path, model: nn.Module) -> Opened:
    """Open a checkpoint of a model without reading its tensors, as `torch.save` has made them.

    Files in the format of torch before 1.6 can't be mapped, and are read whole.

    Raises:
        UserError: as `load_checkpoint`, but for weights that are not finite.
    """
    content = read_content(path, mapped=True)
    state = _state(content, path)
    _check_fit(state, model, path)
    absent = {name: buffer for name, buffer in model.named_buffers() if name not in state}
    rates = (_number(content, name) for name in ("learning_rate", "lr"))
    rate = next((rate for rate in rates if rate is not None), None)
    return Opened({**absent, **state}, _number(content, "epoch"), rate)


def find_checkpoints(paths: Sequence[Path]) -> list[Path]:
    """The files of a trajectory, those of a pattern in the order of the numbers in their names.

    Args:
        paths: files, or patterns of files such as run/epoch-*.pt.

    Raises:
        UserError: no file matches a pattern.
    """
    found = []
    for path in paths:
        is_pattern = any(character in str(path) for character in "*?[") and not path.exists()
        matching = sorted(map(Path, glob.glob(str(path))), key=_natural) if is_pattern else [path]
        if not matching:
            raise UserError(f"checkpoints: no file matches {path}: correct it in the job file")
        found += matching
    return found


def _natural(path: Path) -> list[tuple[int, str]]:
    """By which epoch-9 comes before epoch-10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBERS.split(str(path))
    ]


_NUMBERS = re.compile(r"([0-9]+)")


def _number(content: object, name: str) -> float | None:
    value = content.get(name) if isinstance(content, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        content = next((content[key] for key in KEYS if _is_state(content.get(key))), content)
    if not _is_state(content):
        raise UserError(
            f"checkpoint {path} holds {_kind(content)}, not a state_dict nor one under "
            "'state_dict': save it with torch.save(model.state_dict(), path)"
        )
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in content.items()}


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write a state_dict, or a dictionary with one, whole or not at all (see `durable`).

    Raises:
        UserError: if the file cannot be written.
    """
    try:
        with durable(path) as file:
            torch.save(dict(content), file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise UserError(
            f"checkpoint {path} cannot be written ({summary(error)}): "
            "free some space, or name a folder that you may write to"
        ) from error


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Copy a checkpoint's weights into the model.

    BatchNorm's batch counters may be absent, since eval mode does not use them and older
    checkpoints do not have them.

    Raises:
        UserError: if the file cannot be read, does not fit the model (with the names and shapes
            that differ), or holds weights that are not finite.
    """
    load_state(model, read_checkpoint(path), path)


def load_state(model: nn.Module, state: State, path: Path) -> None:
    """Copy weights that have been read from a checkpoint into the model: see `load_checkpoint`."""
    _check_fit(state, model, path)
    model.load_state_dict(state, strict=False)  # only batch counters can be absent by now
    check_finite(model, f"checkpoint {path}")


def _check_fit(state: State, model: nn.Module, path: Path) -> None:
    expected: dict[str, Tensor] = model.state_dict()
    missing = [n for n in expected if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    found = [f"{kind}: {_some(items)}" for kind, items in faults.items() if items]
    if found:
        raise UserError(
            f"checkpoint {path} does not fit the model ({'; '.join(found)}): "
            "check model.factory, model.kwargs and the checkpoint"
        )


def check_finite(model: nn.Module, source: str) -> None:
    """Check that no weight is NaN or infinite and no buffer NaN.

    Infinite buffers are allowed: attention masks are made of them.

    Raises:
        UserError: naming the first such parameter or buffer, and ``source``.
    """
    bad = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    bad += [name for name, buffer in model.named_buffers() if buffer.isnan().any()]
    if bad:
        raise UserError(
            f"{source} has weights that are not finite ({_some(bad)}): its training diverged; "
            "use an earlier checkpoint"
        )


def read_content(path: Path, mapped: bool = False) -> Any:
    """Whatever a checkpoint file holds, on the CPU; nothing in it is executed.

    Args:
        path: of the file.
        mapped: tensors are read from the disk when they are looked at, if the format allows it.

    Raises:
        UserError: as `read_checkpoint`.
    """
    try:
        if path.suffix == ".safetensors":
            return importlib.import_module("safetensors.torch").load_file(path, device="cpu")
        mapped = mapped and zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise UserError(f"checkpoint {path} does not exist: correct its path") from None
    except ImportError as error:
        raise UserError(
            f"checkpoint {path} needs the safetensors package: pip install safetensors"
        ) from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {path} holds more than tensors, such as a whole module, which only code "
            "could make again: save it with torch.save(model.state_dict(), path)"
        ) from error
    except Exception as error:  # a damaged file can raise anything
        raise UserError(
            f"checkpoint {path} cannot be read ({summary(error)}): it may have been cut short, or "
            "hold more than tensors; copy it again, or save it with "
            "torch.save(model.state_dict(), path)"
        ) from error


def _is_state(content: object) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(name, str) for name in content)
        and all(isinstance(tensor, Tensor) for tensor in content.values())
    )


def _kind(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary with the keys {_some(map(repr, content))}"
    return f"an object of type {type(content).__name__}"


def _some(items: Iterable[str], most: int = 5) -> str:
    """List up to ``most`` items, and count the rest."""
    items = list(items)
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "") if items else "none"

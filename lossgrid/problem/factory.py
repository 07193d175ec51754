"""The user's own callables: found by name, called in the job's folder."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import operator
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from lossgrid.errors import UserError, summary


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Run user code as if Python had been started in ``folder``.

    The folder is the working directory and the first to look for modules in, until the end.
    """
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        with suppress(ValueError):  # user code may have replaced the whole path
            sys.path.remove(str(folder))


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed the generators of torch, NumPy and Python; put them back at the end.

    What the user's code makes is then the same on every rank and at every resume.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def load_callable(spec: str, folder: Path) -> Callable[..., Any]:
    """Import the callable that ``spec`` names.

    Args:
        spec: "module:callable", or "file.py:callable" with the file relative to ``folder``.
        folder: the job file's folder; modules beside it can be imported.

    Raises:
        UserError: if the spec is malformed, the import fails or the name is no callable.
    """
    source, colon, name = spec.rpartition(":")
    if not (colon and source and name):
        raise UserError(f"{spec!r} is no callable: write 'module:callable' or 'file.py:callable'")
    with inside(folder), seeded():
        try:
            if source.endswith(".py"):
                module = _import_file(Path(source))
            else:
                module = importlib.import_module(source)
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{spec!r} cannot be imported from folder {folder} ({summary(error)}): "
                "correct the name, or install what it needs"
            ) from error
    try:
        found = operator.attrgetter(name)(module)
    except AttributeError:
        raise UserError(f"{spec!r} names nothing: {source} has no {name!r}; correct it") from None
    if not callable(found):
        raise UserError(f"{spec!r} is of type {type(found).__name__}: name a function or class")
    return found  # type: ignore[no-any-return]


def call(key: str, spec: str, folder: Path, seed: int, /, *args: Any, **kwargs: Any) -> Any:
    """Call what ``spec`` names inside ``folder``, with all generators seeded.

    Args:
        key: of the job file where the spec stands, for the error.
        spec: as in `load_callable`.
        folder: the job file's folder.
        seed: of the generators.
        *args: handed to the callable.
        **kwargs: handed to the callable.

    Raises:
        UserError: if the callable cannot be loaded, or raises.
    """
    function = load_callable(spec, folder)
    with user_errors(f"{key} {spec!r}"), inside(folder), seeded(seed):
        return function(*args, **kwargs)


@contextmanager
def user_errors(what: str) -> Iterator[None]:
    """Turn whatever the user's code raises into a `UserError` that says what raised it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{what} raised {summary(error)}") from error


def _import_file(path: Path) -> ModuleType:
    """Import a file once, under a name that no other file and no installed module has."""
    path = path.resolve()
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    name = f"lossgrid_user_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None  # as the name ends in .py
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    # Registered first, as dataclasses and pickle look their module up.
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module

"""From a file to a Job or a Training, or to one sentence that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lossgrid.errors import UserError
from lossgrid.job import plainyaml
from lossgrid.job.fields import is_identifier
from lossgrid.job.schema import Job
from lossgrid.job.section import Section
from lossgrid.job.training import Training

Whole = TypeVar("Whole", bound=Section)

_MAX_BYTES = 1_000_000
_MAX_PROBLEMS = 3
_MAX_SHOWN = 60
_EXPECTED = {"list_type": "a list", "dict_type": "keys with values", "bool_type": "true or false"}


class _Override(NamedTuple):
    """One `--set key.path=value`, as typed and taken apart."""

    text: str
    keys: tuple[str, ...]
    value: Any


def read_job(path: Path, overrides: Sequence[str] = ()) -> Job:
    """The job that the YAML file at `path` describes, with `overrides` on top.

    Each of `overrides` reads `key.path=value`, its value in YAML; the last one of a key wins.
    Raises UserError, in one sentence with file, key, what was found and what is allowed.
    """
    return _read(Job, path, overrides)


def read_training(path: Path, overrides: Sequence[str] = ()) -> Training:
    """The training run that the YAML file at `path` describes; otherwise as `read_job`."""
    return _read(Training, path, overrides)


def make_job(settings: Mapping[str, Any], folder: Path, origin: str) -> Job:
    """The job of these settings, as if they stood in a file in `folder`; otherwise as `read_job`.

    What is wrong with them is said of their `origin`, which is also the job's name.
    """
    return _validated(Job, dict(settings), folder / origin, [], origin)


def _read(kind: type[Whole], path: Path, overrides: Sequence[str]) -> Whole:
    path = Path(path).absolute()
    settings = _read_settings(path)
    changes = [_parse_override(text) for text in overrides]
    for change in changes:
        settings = _changed(settings, change, change.keys)
    return _validated(kind, settings, path, changes, str(path))


def _validated(
    kind: type[Whole],
    settings: dict[str, Any],
    path: Path,
    changes: Sequence[_Override],
    origin: str,
) -> Whole:
    try:
        return kind.model_validate(settings, context={"path": path, "folder": path.parent})
    except ValidationError as error:
        raise UserError(f"{origin}: {_describe(error, changes)}") from None


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = plainyaml.parse(_read_text(path))
    except OSError as error:
        raise UserError(f"{path}: the file can't be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    if settings is None:
        raise UserError(f"{path}: the file is empty")
    if not isinstance(settings, dict):
        raise UserError(f"{path}: found {_show(settings)}, expected keys such as model: and data:")
    return settings


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ValueError("more than a megabyte: this is no file of settings")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from None


def _parse_override(text: str) -> _Override:
    path, equals, value = text.partition("=")
    keys = tuple(key.strip() for key in path.split("."))
    if not equals or not all(keys) or len(keys) > plainyaml.MAX_DEPTH:
        raise UserError(f"--set {_show(text)}: expected key.path=value")
    try:
        return _Override(text, keys, plainyaml.parse(value))
    except ValueError as error:
        raise UserError(f"--set {_show(text)}: {error}") from None


def _changed(settings: Any, change: _Override, keys: tuple[str, ...]) -> dict[str, Any]:
    """A copy of `settings` with `change` made; what anchors share elsewhere stays as it is."""
    if settings is not None and not isinstance(settings, dict):
        parent = ".".join(change.keys[: -len(keys)])
        raise UserError(
            f"--set {_show(change.text)}: {parent} is {_show(settings)}, so {keys[0]!r} "
            "can't be set in it"
        )
    settings = settings or {}
    head, *rest = keys
    value = _changed(settings.get(head), change, tuple(rest)) if rest else change.value
    return {**settings, head: value}


def _describe(error: ValidationError, changes: Sequence[_Override]) -> str:
    problems = error.errors(include_url=False)
    told = "; ".join(_tell(problem, changes) for problem in problems[:_MAX_PROBLEMS])
    more = len(problems) - _MAX_PROBLEMS
    return told if more <= 0 else f"{told}; and {more} more"


def _tell(problem: ErrorDetails, changes: Sequence[_Override]) -> str:
    context = problem.get("ctx", {})
    location = tuple(str(part) for part in problem["loc"])
    if problem["type"] == "refusal":
        location += context["keys"]
        words = context["reason"]
    elif problem["type"] == "missing":
        words = "is required, but missing"
    else:
        allowed = context.get("allowed") or context.get("expected")
        allowed = allowed or _EXPECTED.get(problem["type"], problem["msg"])
        words = f"found {_show(problem['input'])}, expected {allowed}"
    key = ".".join(
        part if is_identifier(part) or part.isdigit() else _show(part) for part in location
    )
    return f"{key}: {words}{_blame(location, changes)}"


def _blame(location: tuple[str, ...], changes: Sequence[_Override]) -> str:
    """Names the override that the problem at `location` may come from, if there is one."""
    for change in reversed(changes):
        shared = min(len(location), len(change.keys))
        if location[:shared] == change.keys[:shared]:
            return f" (after --set {_show(change.text)})"
    return ""


def _show(value: object) -> str:
    """`value` in the words of YAML, in a few characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."

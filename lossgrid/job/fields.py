"""The kinds of value that a job file may hold, each with its own wording of what is allowed."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, StrictBool, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
_DOTTED = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*"
_CALLABLE = re.compile(rf"(?:{_DOTTED}|.+\.py):{_DOTTED}")
_MOST = 2**31 - 1


def expected(allowed: str) -> PydanticCustomError:
    """The error of a value that is not what is `allowed`; the report shows what was found."""
    return PydanticCustomError("expected", "{allowed}", {"allowed": allowed})


def refusal(reason: str, *keys: str) -> PydanticCustomError:
    """The error of what `keys` lead to from the section at hand, for a stated reason."""
    return PydanticCustomError("refusal", "{reason}", {"reason": reason, "keys": keys})


def is_identifier(text: object) -> bool:
    """True for ASCII letters, digits and underscores that don't begin with a digit."""
    return isinstance(text, str) and re.fullmatch(_IDENTIFIER, text) is not None


def is_callable_spec(text: str) -> bool:
    """True for "module:callable" and "file.py:callable"."""
    return _CALLABLE.fullmatch(text) is not None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        hint = " (put it in quotes)" if isinstance(value, bool | int | float) else ""
        raise expected(f"text{hint}")
    return value


def _file_stem(value: object) -> str:
    text = _text(value)
    if "/" in text or text in (".", ".."):
        raise expected("a name that can be part of a file name")
    return text


def _callable_spec(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not is_callable_spec(value):
        raise expected('"module:callable" or "file.py:callable"')
    return value


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise expected("a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise expected("a finite number")
    return number


def _positive(value: object) -> float:
    number = _real(value)
    if number <= 0:
        raise expected("a number > 0")
    return number


def _not_negative(value: object, what: str = "a number") -> float:
    number = _real(value)
    if number < 0:
        raise expected(f"{what} >= 0")
    return number


def _duration(value: object) -> float:
    return _not_negative(value, "a number of seconds")


def _momentum(value: object) -> float:
    number = _real(value)
    if not 0 <= number < 1:
        raise expected("a number from 0 up to, but not, 1, such as 0.9")
    return number


def _share(value: object) -> float:
    share = _real(value)
    if not 0 < share < 1:
        raise expected("a number between 0 and 1, such as 0.01")
    return share


def _integer(value: object, low: int, high: int, allowed: str) -> int:
    """An int in [low, high]; 51.0 is taken for 51, true is not taken for 1."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not low <= value <= high:  # type: ignore[operator]
        raise expected(allowed)
    return int(value)  # type: ignore[call-overload, no-any-return]


def _count(value: object) -> int:
    return _integer(value, 1, _MOST, "an integer >= 1")


def _pixels(value: object) -> int:
    return _integer(value, 0, 1024, "an integer from 0 to 1024")


def _sample_size(value: object) -> int:
    return _integer(value, 2, _MOST, "an integer >= 2")


def _axis_points(value: object) -> int:
    return _integer(value, 1, 1_000_000, "an integer from 1 to 1000000")


def _seed(value: object) -> int:
    return _integer(value, 0, 2**63 - 1, "an integer from 0 to 2**63 - 1")


def _count_or_auto(value: object) -> int | str:
    return "auto" if value == "auto" else _integer(value, 1, _MOST, "auto or an integer >= 1")


def _threads(value: object) -> int | str:
    allowed = "auto or an integer from 1 to 1024"
    return "auto" if value == "auto" else _integer(value, 1, 1024, allowed)


def _kwargs(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise expected("keyword arguments, such as {depth: 20}")
    for key in value:
        if not is_identifier(key):
            raise refusal("is not the name of a keyword argument", str(key))
    return value


def _patterns(value: object) -> str | list[str]:
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise expected("a name pattern or a list of them")
    return value  # type: ignore[return-value]


def _absolute(value: object, info: ValidationInfo) -> Path:
    """`value` as an absolute path; relative ones start at the job file's folder, `~` at home."""
    if not isinstance(value, str | Path) or not str(value):
        raise expected("a path")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise expected("a path") from None
    if "\0" in str(value):
        raise expected("a path")
    folder = info.context["folder"] if info.context else Path.cwd()
    plain = os.path.join(folder, os.path.expanduser(value))
    tidy = os.path.normpath(plain)
    # "link/.." is not always where it seems to be: tidy up only where that changes nothing.
    return Path(tidy if os.path.realpath(tidy) == os.path.realpath(plain) else plain)


def _listed(value: object) -> list[object]:
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise expected("a path, a pattern such as run/epoch-*.pt, or a list of these")
    return listed


def _number(**bounds: float) -> WithJsonSchema:
    return WithJsonSchema({"type": "number", **bounds})


def _whole(low: int, high: int, *, auto: bool = False) -> WithJsonSchema:
    """Integers of a range, as `_integer` has it."""
    whole: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    return WithJsonSchema({"anyOf": [{"const": "auto"}, whole]} if auto else whole)


def _one_or_more(what: str) -> WithJsonSchema:
    one = {"type": "string", "title": what}
    many = {"type": "array", "items": one, "minItems": 1}
    return WithJsonSchema({"anyOf": [one, many]})


Text = Annotated[str, BeforeValidator(_text)]
FileStem = Annotated[str, BeforeValidator(_file_stem)]
CallableSpec = Annotated[
    str,
    BeforeValidator(_callable_spec),
    WithJsonSchema({"type": "string", "pattern": f"^{_CALLABLE.pattern}$"}),
]
Real = Annotated[float, BeforeValidator(_real)]
Positive = Annotated[float, BeforeValidator(_positive), _number(exclusiveMinimum=0)]
NotNegative = Annotated[float, BeforeValidator(_not_negative), _number(minimum=0)]
Momentum = Annotated[float, BeforeValidator(_momentum), _number(minimum=0, exclusiveMaximum=1)]
Share = Annotated[float, BeforeValidator(_share), _number(exclusiveMinimum=0, exclusiveMaximum=1)]
Duration = Annotated[float, BeforeValidator(_duration), _number(minimum=0)]
Count = Annotated[int, BeforeValidator(_count), _whole(1, _MOST)]
Pixels = Annotated[int, BeforeValidator(_pixels), _whole(0, 1024)]
SampleSize = Annotated[int, BeforeValidator(_sample_size), _whole(2, _MOST)]
AxisPoints = Annotated[int, BeforeValidator(_axis_points), _whole(1, 1_000_000)]
Seed = Annotated[int, BeforeValidator(_seed), _whole(0, 2**63 - 1)]
CountOrAuto = Annotated[
    int | Literal["auto"], BeforeValidator(_count_or_auto), _whole(1, _MOST, auto=True)
]
Threads = Annotated[int | Literal["auto"], BeforeValidator(_threads), _whole(1, 1024, auto=True)]
Switch = StrictBool
Kwargs = Annotated[dict[str, Any], BeforeValidator(_kwargs)]
Patterns = Annotated[str | list[str], BeforeValidator(_patterns), _one_or_more("name pattern")]
AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
Checkpoints = Annotated[list[AbsolutePath], BeforeValidator(_listed), _one_or_more("path")]

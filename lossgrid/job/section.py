"""What all sections of a file have in common."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

from lossgrid.job.fields import expected, refusal


class Section(BaseModel):
    """A mapping of a file with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, cls):
            return data
        keys = cls.model_fields
        if not isinstance(data, dict):
            raise expected(f"the keys {', '.join(keys)}")
        for key in data:
            if key not in keys:
                raise refusal(f"unknown key {unknown(str(key), keys)}", str(key))
        return cls._complete(data, info.context or {})

    @classmethod
    def _complete(cls, data: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        """`data` with those defaults that depend on other keys."""
        return data


def unknown(name: str, known: Iterable[str]) -> str:
    """The words that say that `name` is not one of the `known`, with the nearest of them."""
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"({hint}known here: {', '.join(known)})"


def first_repeated(names: Iterable[str]) -> str | None:
    """The first of them that occurs twice."""
    return next((name for name, count in Counter(names).items() if count > 1), None)

"""What all sections of a file have in common."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema

from lossgrid.job.fields import expected, refusal


class Section(BaseModel):
    """A mapping of a file with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    filled_in: ClassVar[frozenset[str]] = frozenset()
    """Keys that may be left out, as their defaults follow from other keys (see `_complete`)."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core))
        needed = [key for key in schema.get("required", []) if key not in cls.filled_in]
        schema.pop("required", None)
        return schema | ({"required": needed} if needed else {})

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

"""What the JSON schema says of a value is what a job file may hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from lossgrid.job import fields

KINDS = [
    *("Positive", "NotNegative", "Momentum", "Share", "Duration", "Real", "Switch"),
    *("Count", "Pixels", "SampleSize", "AxisPoints", "Seed", "CountOrAuto", "Threads"),
    *("Patterns", "Checkpoints", "CallableSpec"),
]
ENDS = [0, 1, 2, 1024, 1_000_000, 2**31 - 1, 2**63 - 1]
VALUES = st.one_of(
    st.sampled_from([number + step for number in ENDS for step in (-1, 0, 1)]),
    st.sampled_from([0.0, 1.0, 0.5, -0.0, "auto", "run/epoch-*.pt", "a.py:b", "a:b.c", "a b:c"]),
    st.sampled_from([None, True, [], ["x"], [1], {}]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(categories=["L", "N"]), min_size=1),
)


def accepts(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", KINDS)
@settings(deadline=None)
@given(value=VALUES)
def test_schema_and_program_accept_the_same(name: str, value: object) -> None:
    kind = getattr(fields, name)
    schema = Draft202012Validator(TypeAdapter(kind).json_schema())
    assert schema.is_valid(value) == accepts(kind, value)

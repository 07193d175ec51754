from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.job import plainyaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(
        ["1e-3", "2024-01-31", "null", "on", "0x10", "1:30", "=", "<<", "~", "\x85", "a\u2028 b"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_dumped_is_parsed_again(data: object) -> None:
    assert plainyaml.parse(plainyaml.dump(data)) == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.e+2", -200.0),
        ("+3.5e4", 3.5e4),
        ("1.0e-03", 1e-3),
        ("'1e-3'", "1e-3"),
        ("2024-01-31", "2024-01-31"),
        ("1e", "1e"),
        ("e3", "e3"),
        ("", None),
        ("# nothing", None),
    ],
)
def test_scalars_mean_what_people_mean(text: str, value: object) -> None:
    parsed = plainyaml.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_anchors_are_shared_by_what_refers_to_them() -> None:
    parsed = plainyaml.parse("a: &x {n: 1}\nb: *x\nc: {<<: *x, m: 2}")
    assert parsed == {"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1, "m": 2}}


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", r"'a' is given twice \(lines 1 and 3\)"),
        ("a: {b: 1, b: 1}", "'b' is given twice"),
        ("a: [1", r"not valid YAML: .* \(line 1"),
        ("a: b: c", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("\ta: 1", "not valid YAML"),
        ("a: \x01", "not valid YAML"),
        ("a: *nowhere", "not valid YAML"),
        ("{[1]: 2}", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is not allowed"),
        ("a: !!binary aGVsbG8=", "'binary' is not allowed"),
        ("a: !!set {b}", "'set' is not allowed"),
        ("a: !!int ''", "not valid YAML"),
        ("a: !!int x", "invalid literal"),
        ("a: !!bool maybe", "not valid YAML"),
        ("a: !!float []", "not valid YAML"),
        ("a: " + "9" * 5000, "too many digits"),
        ("a: 0x" + "f" * 5000, "too many digits"),
        ("[" * 60 + "]" * 60, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        (BOMB, "too large with its anchors"),
        ("a: &a [*a]", "nested too deeply"),
        ("&a {<<: *a}", "nested too deeply"),
    ],
)
def test_what_is_not_plain_data_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plainyaml.parse(text)


@given(st.text(alphabet=st.sampled_from(list("ab:-[]{}&*!<>|'\"#%@`,?=~.0123e+ \n\t\0\u2028é"))))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = plainyaml.parse(text)
    except ValueError:
        return
    dumped = plainyaml.parse(plainyaml.dump(parsed))
    assert dumped == parsed or any(math.isnan(x) for x in _floats(parsed))


def _floats(data: object) -> list[float]:
    if isinstance(data, dict):
        return [x for pair in data.items() for part in pair for x in _floats(part)]
    if isinstance(data, list):
        return [x for part in data for x in _floats(part)]
    return [data] if isinstance(data, float) else []

"""YAML text to plain data: mappings, lists, text, numbers, booleans, null."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

import yaml

MAX_DEPTH = 40
_MAX_NODES = 100_000
_MAX_DIGITS = 1000  # Python refuses to print integers of more than 4300 decimal digits
_TAG = "tag:yaml.org,2002:"
_TIMESTAMP = _TAG + "timestamp"
_PLAIN_TAGS = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
_MERGE = _TAG + "merge"

# YAML 1.1 wants a dot and a signed exponent in a float; people type 1e-3 and mean a number.
_EXPONENT_FLOAT = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number, and 2024-01-31 as text."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what `_Loader` would take for a number, and never writes anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(_TAG + "float", _EXPONENT_FLOAT, list("-+0123456789"))
_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] != _TIMESTAMP]
    for first, rules in _Loader.yaml_implicit_resolvers.items()
}


def _represent_text(dumper: yaml.SafeDumper, text: str | PurePath) -> yaml.ScalarNode:
    """Text with escapes where needed: PyYAML alone writes U+0085 and reads back a space."""
    plain = str(text)
    style = None if plain.isprintable() else '"'
    return dumper.represent_scalar(_TAG + "str", plain, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_multi_representer(PurePath, _represent_text)


def parse(text: str) -> Any:
    """The plain data that a YAML document holds; None for an empty one.

    Raises ValueError, with a phrase that says what is wrong and in which line, for anything that
    is not YAML, has a key twice, has other tags than those of plain data, or is nested or
    expanded by anchors beyond what a person writes.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"not valid YAML: {error.problem}{_line(error.problem_mark)}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # A tag that belies its value (!!bool maybe, !!int "") fails somewhere inside PyYAML.
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from None


def dump(data: Any) -> str:
    """`data` as YAML text that `parse` turns into equal data; paths become text."""
    return yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None
    )


def _check(root: yaml.Node) -> None:
    """Refuse what would be lost or would explode, before any of it is built.

    The walk expands aliases, so it counts what a reader of the data would see.
    """
    pending = [(root, 0)]
    seen = 0
    while pending:
        node, depth = pending.pop()
        seen += 1
        if seen > _MAX_NODES or depth > MAX_DEPTH:
            raise ValueError("nested too deeply, or too large with its anchors expanded")
        if node.tag not in _PLAIN_TAGS and node.tag != _MERGE:
            name = node.tag.removeprefix(_TAG)
            raise ValueError(f"tag {name!r} is not allowed{_line(node.start_mark)}")
        if node.tag == _TAG + "int" and len(node.value) > _MAX_DIGITS:
            raise ValueError(f"integer with too many digits{_line(node.start_mark)}")
        pending += [(child, depth + 1) for child in _children(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        _check_duplicates(node)
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_duplicates(mapping: yaml.MappingNode) -> None:
    """YAML takes the last of two equal keys in silence, so that a setting is lost."""
    first: dict[str, yaml.Node] = {}
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, key) is not key:
            line = first[key.value].start_mark.line + 1
            raise ValueError(
                f"key {key.value!r} is given twice (lines {line} and {key.start_mark.line + 1})"
            )


def _line(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"

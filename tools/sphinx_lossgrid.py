"""Sphinx directives for pages that are generated from the program, so that they can't drift.

`{keys} Job` lists the keys of job files, `{keys} Training` those of training files, by their JSON
schemas; `{commands}` lists the commands and their options.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from lossgrid import job
from lossgrid.cli import commands

Schema = dict[str, Any]
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
UNBOUNDED = 2**31 - 1  # from here on a bound says how large numbers are stored


def keys_page(schema: Schema) -> str:
    """All keys of a schema as Markdown, a heading a section."""
    parts: list[str] = []
    for path, section in _sections(schema):
        heading = f"`{path}`" if path else "The file"
        parts += [f"## {heading}", _linked(section["description"].partition("\n\n")[0])]
        required = section.get("required", [])
        for name, key in section["properties"].items():
            kind = "required" if name in required else _default(key)
            facts = ", ".join(filter(None, [_values(key), kind]))
            parts.append(_defined(f"`{name}`", f"*{facts}*\n\n{_linked(_told(schema, key))}"))
    return "\n\n".join(parts)


def _sections(schema: Schema, path: str = "", of: Schema | None = None) -> Iterator[Any]:
    """Each mapping with its path, before those in it."""
    section = of or schema
    yield path, section
    for name, key in section.get("properties", {}).items():
        inner = _section(key)
        if inner:
            below = f"{path}.{name}".lstrip(".") + (".<name>" if _is_named(key) else "")
            yield from _sections(schema, below, schema["$defs"][inner])


def _section(key: Schema) -> str:
    """The name of the section that a key holds, or several of by name; none: empty."""
    holders = [key, key.get("additionalProperties"), *key.get("anyOf", [])]
    found = [holder["$ref"] for holder in holders if isinstance(holder, dict) and "$ref" in holder]
    return found[0].rpartition("/")[2] if found else ""


def _is_named(key: Schema) -> bool:
    return "additionalProperties" in key


def _told(schema: Schema, key: Schema) -> str:
    """The description of a key; a section that has none of its own has its definition's."""
    told: str = key.get("description") or schema["$defs"][_section(key)]["description"]
    return told


def _values(key: Schema) -> str:
    """What a key may hold, in words."""
    if _section(key):
        return "mappings by name" if _is_named(key) else "mapping"
    if "anyOf" in key:
        return " or ".join(_values(one) for one in key["anyOf"] if one != {"type": "null"})
    if "enum" in key:
        return ", ".join(f"`{value}`" for value in key["enum"])
    if "const" in key:
        return f"`{key['const']}`"
    if key["type"] == "array":
        return f"list of {_values(key['items'])}"
    if key["type"] == "object":
        return "mapping"
    bounds = [
        f"{sign} {key[bound]:g}"
        for bound, sign in BOUNDS.items()
        if bound in key and key[bound] < UNBOUNDED
    ]
    if "pattern" in key:
        return "`module:callable` or `file.py:callable`"
    title = str(key.get("title", ""))  # pydantic's own are capitalized names
    text = title if title.islower() else str(key.get("format", "text"))
    kinds = {"boolean": "`true`, `false`", "string": text}
    kind = str(kinds.get(key["type"], key["type"]))
    return f"{kind} {' and '.join(bounds)}".strip()


def _default(key: Schema) -> str:
    default = key.get("default")
    if default is None or _section(key):
        return ""
    return f"default `{default if isinstance(default, str) else json.dumps(default)}`"


def commands_page(group: click.Group) -> str:
    """All commands as Markdown, a heading a command."""
    parts: list[str] = []
    for name, command in group.commands.items():
        context = click.Context(command, info_name=f"lossgrid {name}")
        parts.append(f"## `lossgrid {name}`")
        usage = " ".join(command.collect_usage_pieces(context))
        parts.append(f"```text\nlossgrid {name} {usage}\n```")
        parts.append(_plain(_paragraphs(command.help or "")))
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record and record[1] and "--help" not in record[0]:
                parts.append(_defined(f"`{record[0]}`", _plain(record[1])))
    return "\n\n".join(parts)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _defined(term: str, text: str) -> str:
    """An entry of a definition list."""
    return f"{term}\n: " + text.replace("\n", "\n  ")


def _linked(text: str) -> str:
    """Names of pages become links; what is between <> is no HTML."""
    page = r"\b([a-z]+\.md)((?:#[a-z-]+)?)"
    return re.sub(page, lambda found: f"[{found[1]}]({found[0]})", _plain(text))


def _plain(text: str) -> str:
    """Text in which nothing but backticks means anything to Markdown."""
    return text.replace("<", "\\<").replace("*", "\\*").replace("[default", "\\[default")


class Keys(SphinxDirective):
    """The keys of a kind of file: `Job` or `Training`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The page's nodes."""
        page = keys_page(getattr(job, self.arguments[0]).model_json_schema())
        return self.parse_text_to_nodes(page, allow_section_headings=True)


class Commands(SphinxDirective):
    """All commands."""

    def run(self) -> list[nodes.Node]:
        """The page's nodes."""
        return self.parse_text_to_nodes(commands_page(commands), allow_section_headings=True)


def unlink_folders(app: Sphinx, page: nodes.document) -> None:
    """Links to folders of the repository lead somewhere only where it is browsed."""
    docs = Path(app.srcdir)
    for link in list(page.findall(pending_xref)):
        target = str(link.get("reftarget"))
        if link.get("refdomain") is None and any(
            (here / target).is_dir() for here in (docs, docs.parent)
        ):
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("keys", Keys)
    app.add_directive("commands", Commands)
    app.connect("doctree-read", unlink_folders)
    return {"parallel_read_safe": True}

"""Pages of the documentation that are generated from the program."""

from __future__ import annotations

import re

import click
import pytest
from pydantic import BaseModel

from lossgrid.cli import commands
from lossgrid.job import Job, Training
from tools.sphinx_lossgrid import commands_page, keys_page


def entries(page: str) -> set[str]:
    """Every defined term, with the heading that it stands under."""
    found, heading = set(), ""
    for line in page.splitlines():
        if title := re.fullmatch(r"## `(.+)`", line):
            heading = title[1]
        elif term := re.fullmatch(r"`(.+)`", line):
            found.add(f"{heading}.{term[1]}".lstrip("."))
    return found


def paths(section: type[BaseModel], above: str = "") -> set[str]:
    """Every key of a section and those below it, as `--set` has them."""
    found = set()
    for name, field in section.model_fields.items():
        path = f"{above}.{name}".lstrip(".")
        found.add(path)
        by_name = ".<name>" if "dict" in str(field.annotation) else ""
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in inner:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= paths(kind, path + by_name)
    return found


@pytest.mark.parametrize("file", [Job, Training])
def test_every_key_is_there(file: type[BaseModel]) -> None:
    assert entries(keys_page(file.model_json_schema())) == paths(file)


def test_what_a_key_may_hold_is_told() -> None:
    page = keys_page(Job.model_json_schema())
    assert "`chunk`\n: *`auto` or integer >= 1, default `auto`*" in page
    assert "`refine`\n: *number > 0 and < 1*" in page
    assert "`kind`\n: *`random`, `between`, `pca`, `file`, default `random`*" in page
    assert "[tolerance.md](tolerance.md)" in page


def test_every_option_that_has_help_is_there() -> None:
    page = commands_page(commands)
    for name, command in commands.commands.items():
        assert f"## `lossgrid {name}`" in page
        for option in command.params:
            if isinstance(option, click.Option) and option.help:
                assert f"`{option.opts[0]}" in page or f", {option.opts[0]}" in page

"""What README and docs have readers type: their blocks, and the commands in them.

A comment before a block says what is done with it: `<!-- file: NAME -->` saves it, `<!-- not run:
REASON -->` leaves it out.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from tests.mpi import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
SHELL = re.compile(r"^\s*(lossgrid|mpirun|make) ", re.MULTILINE)

NOTING = r"""
PATH=/nowhere
note() { local words; printf -v words '%s\x1f' "$@"; printf '%s\n' "$words" >> "$NOTED"; }
command_not_found_handle() { note "$@"; }
seq() { /usr/bin/seq "$@"; }
dirname() { /usr/bin/dirname "$@"; }
mpirun() { while [ "$1" != lossgrid ]; do shift || return; done; "$@"; }
"""
"""Bash as it is, but that every command is noted instead of run."""


class Block(NamedTuple):
    """A block of code; `marker` is the comment before it."""

    language: str
    text: str
    marker: str

    @property
    def is_shell(self) -> bool:
        return self.language in ("sh", "bash") or (
            not self.language and SHELL.search(self.text) is not None
        )

    @property
    def is_directive(self) -> bool:
        return self.language.startswith("{")


def blocks(page: Path) -> Iterator[Block]:
    marker = ""
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in ("fence", "code_block"):
            yield Block(token.info.strip(), token.content, marker)
        if token.level == 0:
            marker = token.content.strip() if token.type == "html_block" else ""


def commands_of(block: Block, folder: Path) -> list[list[str]]:
    """The words of every command that a shell block would run in a folder, loops and all."""
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=60)
    noted = folder / ".noted"
    noted.unlink(missing_ok=True)
    subprocess.run(
        ["bash"],
        input=NOTING + block.text,
        text=True,
        check=False,
        cwd=folder,
        env={"NOTED": str(noted)},
        capture_output=True,
        timeout=60,
    )
    lines = noted.read_text().splitlines() if noted.exists() else []
    return [line.split("\x1f")[:-1] for line in lines]

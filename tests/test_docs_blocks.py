"""What README and docs have readers type: commands, job files, and the tutorial as a whole.

Commands are read by bash, so that variables and loops count, with a lossgrid that notes its words;
the program's own parser must take these. A comment before a block says what the tutorial's test
does with it: `<!-- file: NAME -->` saves it, `<!-- not run: REASON -->` leaves it out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from lossgrid.cli import commands
from lossgrid.job import Job, Training, plainyaml
from tests.mpi import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
SHELL = re.compile(r"^\s*(lossgrid|mpirun) ", re.MULTILINE)

NOTING = r"""
PATH=/nowhere
command_not_found_handle() { :; }
seq() { /usr/bin/seq "$@"; }
lossgrid() { printf '%s\x1f' "$@" >> noted; printf '\n' >> noted; }
mpirun() { while [ "$1" != lossgrid ]; do shift || return; done; "$@"; }
"""


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


def blocks(page: Path) -> Iterator[Block]:
    marker = ""
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in ("fence", "code_block"):
            yield Block(token.info.strip(), token.content, marker)
        if token.level == 0:
            marker = token.content.strip() if token.type == "html_block" else ""


def noted(page: Path, folder: Path) -> list[list[str]]:
    """The words of every lossgrid command in a page's shell blocks."""
    for block in blocks(page):
        if block.is_shell:
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=60)
            subprocess.run(
                ["bash"],
                input=NOTING + block.text,
                text=True,
                check=False,
                cwd=folder,
                capture_output=True,
                timeout=60,
            )
    calls = folder / "noted"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return [line.split("\x1f")[:-1] for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_program_takes_every_command(page: Path, tmp_path: Path) -> None:
    calls = noted(page, tmp_path)
    starts = sum(
        len(re.findall(r"^\s*(?:mpirun .* )?lossgrid [a-z]+", block.text, re.MULTILINE))
        for block in blocks(page)
        if block.is_shell
    )
    assert len(calls) >= starts
    for name, *words in calls:
        commands.commands[name].make_context(name, words)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_options_that_the_text_names_exist(page: Path) -> None:
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        for part in token.children or []:
            call = re.match(r"lossgrid ([a-z]+)\b(.*)", part.content)
            if part.type == "code_inline" and call:
                command = commands.commands[call[1]]
                known = {
                    name
                    for option in command.params
                    for name in (*option.opts, *option.secondary_opts)
                }
                own = re.sub("'[^']*'", "", call[2])  # not those of other programs
                assert set(re.findall(r" (--?[a-z][a-z-]*)", own)) <= known | {"--help"}


def unlike(settings: dict[str, Any]) -> list[str]:
    """What a job or training file, or some sections of one, has that the schema does not."""
    kind = Training if "optimizer" in settings else Job
    schema = kind.model_json_schema()
    del schema["required"]  # a page may show some sections alone
    return [error.message for error in Draft202012Validator(schema).iter_errors(settings)]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_schema_takes_every_job(page: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            assert unlike(plainyaml.parse(block.text)) == []


@pytest.mark.timeout(900)
def test_the_tutorial_runs(tmp_path: Path) -> None:
    left_out = []
    for block in blocks(ROOT / "docs" / "tutorial.md"):
        if name := re.match(r"<!-- file: (\S+) -->", block.marker):
            (tmp_path / name[1]).write_text(block.text)
        elif reason := re.match(r"<!-- not run: (.+) -->", block.marker):
            left_out.append(reason[1])
        else:
            environment = os.environ | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",  # threads that wait for each other on a busy machine
            }
            done = subprocess.run(
                ["bash", "-e"],
                input=block.text,
                text=True,
                check=False,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                timeout=400,
            )
            assert done.returncode == 0, block.text + done.stdout + done.stderr
    assert len(left_out) == 1
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert made >= {"figure.pdf", "out/job.png", "out/job.html", "out/compare.png"}

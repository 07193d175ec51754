"""What README and docs have readers type is taken by the program; the tutorial runs as a whole.

`tests/test_docs_run.py` runs the blocks of the other pages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from lossgrid.cli import commands
from lossgrid.job import Job, Training, plainyaml
from tests.mpi import ROOT
from tests.pages import NAMES, PAGES, blocks, commands_of


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_program_takes_every_command(page: Path, tmp_path: Path) -> None:
    shell = [block for block in blocks(page) if block.is_shell]
    noted = [words for block in shell for words in commands_of(block, tmp_path)]
    calls = [words[1:] for words in noted if words[0] == "lossgrid"]
    starts = sum(
        len(re.findall(r"^\s*(?:mpirun .* )?lossgrid [a-z]+", block.text, re.MULTILINE))
        for block in shell
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

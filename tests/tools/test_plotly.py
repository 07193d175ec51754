"""What is committed of Plotly was built from what is committed in tools/plotly, and is whole."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "tools" / "plotly"
BROWSER = ROOT / "lossgrid" / "view" / "browser"
SOURCES = ("build.js", "entry.js", "package-lock.json", "package.json")


@pytest.fixture(scope="module")
def bundle() -> tuple[str, str]:
    """The comment that the bundle begins with, and the code."""
    head, end, code = (BROWSER / "plotly.min.js").read_text().partition(" */\n")
    return head + end, code


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def locked() -> dict[str, dict[str, str]]:
    packages: dict[str, dict[str, str]] = json.loads((TOOL / "package-lock.json").read_text())[
        "packages"
    ]
    return packages


def test_it_was_built_from_these_sources(bundle: tuple[str, str]) -> None:
    head, _ = bundle
    sources = sha256("".join((TOOL / name).read_text() for name in SOURCES))
    assert f"sources: {sources}\n" in head, "run `make plotly`"
    assert f"plotly.js {locked()['node_modules/plotly.js']['version']}, in part" in head


def test_it_is_as_it_was_built(bundle: tuple[str, str]) -> None:
    head, code = bundle
    assert f"what follows: {sha256(code)}\n" in head


def test_its_licenses_are_told(bundle: tuple[str, str]) -> None:
    head, _ = bundle
    assert re.search(r"Copyright \(c\) [\d-]+ Plotly.*; MIT license", head)
    licenses = (BROWSER / "plotly.licenses.txt").read_text()
    for name in ("plotly.js", "@plotly/d3"):
        version = locked()[f"node_modules/{name}"]["version"]
        assert f"==== {name} {version} (" in licenses
    assert "Permission is hereby granted, free of charge" in licenses


def test_packages_are_pinned_without_saying_where_from() -> None:
    package = json.loads((TOOL / "package.json").read_text())
    for name, version in {**package["dependencies"], **package["devDependencies"]}.items():
        assert locked()[f"node_modules/{name}"]["version"] == version
    assert not any("resolved" in about for about in locked().values())

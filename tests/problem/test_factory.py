from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lossgrid.errors import UserError
from lossgrid.problem import inside, load_callable
from lossgrid.problem.factory import call, seeded


def test_inside_starts_in_the_folder_and_comes_back(tmp_path: Path) -> None:
    before, path = Path.cwd(), list(sys.path)

    def work() -> None:
        with inside(tmp_path):
            assert Path.cwd() == tmp_path
            assert sys.path[0] == str(tmp_path)
            os.chdir("/")
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert Path.cwd() == before
    assert sys.path == path


def draw() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_seeded_repeats_and_leaves_no_trace() -> None:
    with seeded():
        first = draw()
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    expected = draw()
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    with seeded():
        assert draw() == first
    assert draw() == expected


def test_loads_from_modules(tmp_path: Path) -> None:
    assert load_callable("os.path:join", tmp_path) is os.path.join
    assert load_callable("pathlib:Path.cwd", tmp_path)() == Path.cwd()


def test_loads_from_a_module_beside_the_job(tmp_path: Path) -> None:
    (tmp_path / "lossgrid_test_beside.py").write_text("def f(): return 1")
    assert load_callable("lossgrid_test_beside:f", tmp_path)() == 1


def test_loads_from_files_that_import_their_neighbours(tmp_path: Path) -> None:
    (tmp_path / "lossgrid_test_helper.py").write_text("VALUE = 5")
    (tmp_path / "net.py").write_text(
        "from lossgrid_test_helper import VALUE\ndef f(): return VALUE"
    )
    assert load_callable("net.py:f", tmp_path)() == 5
    assert load_callable(f"{tmp_path}/net.py:f", Path("/"))() == 5


def test_files_of_one_name_stay_apart_and_run_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "random.py").write_text(f"def f(): return {name!r}")
    first = load_callable("random.py:f", tmp_path / "a")
    assert (first(), load_callable("random.py:f", tmp_path / "b")()) == ("a", "b")
    assert load_callable("random.py:f", tmp_path / "a") is first
    assert sys.modules["random"] is random


def test_dataclasses_can_be_defined_in_files(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass, KW_ONLY\n"
        "@dataclass\nclass C:\n    x: int\n    _: KW_ONLY\n    y: int = 2\n"
    )
    assert load_callable("net.py:C", tmp_path)(1).y == 2


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import lossgrid_test_absent", "No module named 'lossgrid_test_absent'"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(1)", "SystemExit"),
        ("g = 1", "has no 'f'"),
        ("f = 1", "is of type int"),
    ],
)
def test_import_errors_are_shown(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "net.py").write_text(source)
    with pytest.raises(UserError, match=words) as raised:
        load_callable("net.py:f", tmp_path)
    assert "'net.py:f'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_failed_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("1 / 0")
    with pytest.raises(UserError):
        load_callable("net.py:f", tmp_path)
    (tmp_path / "net.py").write_text("def f(): return 12345")
    assert load_callable("net.py:f", tmp_path)() == 12345


@pytest.mark.parametrize("spec", ["none.py:f", "lossgrid_test_absent:f", "f", ":f", "os:"])
def test_what_cannot_be_found(tmp_path: Path, spec: str) -> None:
    with pytest.raises(UserError, match=f"{spec!r}"):
        load_callable(spec, tmp_path)


def test_call_runs_in_the_folder_with_a_seed(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import os, torch\ndef f(x, y): return os.getcwd(), torch.initial_seed(), x, y"
    )
    found = call("model.factory", "net.py:f", tmp_path, 0, 1, y=2)
    assert found == (str(tmp_path), 0, 1, 2)


def test_call_names_key_spec_and_exception(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def f(): raise ValueError('two\\nlines')")
    with pytest.raises(UserError) as raised:
        call("model.factory", "net.py:f", tmp_path, 0)
    assert str(raised.value) == "model.factory 'net.py:f' raised ValueError: two lines"
    with pytest.raises(UserError, match=r"model\.factory 'net.py:f' raised TypeError: .*'depth'"):
        call("model.factory", "net.py:f", tmp_path, 0, depth=3)

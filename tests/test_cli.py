"""The commands as a user types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lossgrid import __version__
from lossgrid.cli import commands
from lossgrid.engine.messages import FAILED
from lossgrid.evaluate.estimate import MOST
from lossgrid.run.steps import run
from lossgrid.store.lock import RunLock
from lossgrid.store.results import read_results
from tests.toy import toy_job


def lossgrid(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lossgrid", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_help_names_every_command() -> None:
    said = lossgrid("--help").stdout
    computing = ("run", "plan", "trajectory", "status", "watch")
    viewing = ("plot", "compare", "histogram", "render", "export", "html", "measure")
    for command in (*computing, *viewing, "doctor"):
        assert f"\n  {command} " in said


def test_version() -> None:
    assert lossgrid("--version").stdout.strip().endswith(__version__)


@pytest.mark.parametrize("arguments", [("frobnicate",), ("run",), ("plot", "--colum", "x")])
def test_a_wrong_command_line_is_exit_2(arguments: tuple[str, ...]) -> None:
    done = lossgrid(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("plot", "--size", "nan", "3"),
        ("plot", "--levels", "0.1,nan"),
        ("render", "--clamp", "nan"),
        ("render", "--contours", "1,inf"),
        ("render", "--turntable", "a.gif", "--seconds", "inf"),
        ("export", "--scale", "nan"),
        ("measure", "--epsilon", "nan"),
        ("measure", "--noise", "nan"),
        ("watch", "--every", "inf"),
    ],
)
def test_numbers_are_finite(arguments: tuple[str, ...]) -> None:
    """Told while the options are read: there is no such file."""
    option = [word for word in arguments if word.startswith("--")][-1]
    done = CliRunner().invoke(commands, [*arguments, "nothing.vtkhdf"])
    assert done.exit_code == 2
    assert f"Invalid value for '{option}'" in done.output


@pytest.mark.parametrize(
    ("words", "completed"), [("pl", {"plan", "plot"}), ("plot --ki", {"--kind"})]
)
def test_the_shell_completes(words: str, completed: set[str]) -> None:
    asked = {"_LOSSGRID_COMPLETE": "bash_complete", "COMP_WORDS": f"lossgrid {words}"}
    done = subprocess.run(
        [Path(sys.executable).with_name("lossgrid")],
        env=os.environ | asked | {"COMP_CWORD": str(len(words.split()))},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert {line.partition(",")[2] for line in done.stdout.split()} == completed


@pytest.mark.parametrize("command", [None, *commands.commands])
def test_help_loads_nothing_heavy(command: str | None) -> None:
    heavy = ("torch", "numpy", "h5py", "mpi4py", "matplotlib", "vtk", "vtkmodules", "pydantic")
    heavy += ("rich", "scipy", "sklearn", "yaml")
    arguments = ["lossgrid", *filter(None, [command]), "--help"]
    code = (
        f"import sys; sys.argv = {arguments!r}\n"
        "from lossgrid.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--help" in done.stdout
    assert done.stderr.strip() == "[]"


def test_plan_predicts_and_writes_nothing(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    done = lossgrid("plan", job, "--ranks", 4)
    assert done.returncode == 0, done.stderr
    for words in ("7 x 5 = 35 points", "cosine", "batches of", "on 4 ranks", "train_loss"):
        assert words in done.stdout
    assert "not there yet" in done.stdout
    assert re.search(r"\ndisk: +0\.2[0-9]+ MB for the results\n", done.stdout)
    assert files(tmp_path) == ["toy.py", "toy.yaml"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("tune=false", "why:        by rule; to pin it: evaluation: {batch_size: 40, "),
        ("tune=true", "by rule, as measuring would take"),
        ("points_per_pass=3", "points_per_pass: 3, network: fused}"),
    ],
)
def test_plan_says_why(setting: str, words: str, tmp_path: Path) -> None:
    assert words in lossgrid("plan", toy_job(tmp_path), "--set", f"evaluation.{setting}").stdout


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")


def test_plan_knows_what_is_stored(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    (tmp_path / "broken").touch()
    run(job)
    found = read_results(tmp_path / "out" / "toy.vtkhdf")
    (tmp_path / "broken").unlink()
    said = lossgrid("plan", job).stdout
    assert "to be continued" in said
    assert f"{found.count(FAILED)} points, in about" in said
    run(job)
    assert "complete" in lossgrid("plan", job).stdout
    said = lossgrid("plan", job, "--set", "directions.seed=1").stdout
    assert "holds the results of another job: directions (" in said
    assert "theta" not in said.split("another job")[1].splitlines()[0]


def test_plan_of_a_network_that_is_not_trained_yet(tmp_path: Path) -> None:
    model = {
        "factory": "lossgrid.models:digits_cnn",
        "checkpoint": "digits.pt",
        "recipe": "lossgrid.train:digits",
    }
    data = {"test": {"factory": "lossgrid.data:digits", "kwargs": {"train": False}}}
    done = lossgrid("plan", toy_job(tmp_path, model=model, data=data))
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"test_accuracy ([0-9.]+)", done.stdout)
    assert accuracy is not None
    assert float(accuracy.group(1)) > 0.9
    assert f"a run trains {tmp_path / 'digits.pt'} first" in done.stdout
    assert files(tmp_path) == ["toy.py", "toy.yaml"]


def test_plan_tells_what_disk_samples_take(tmp_path: Path) -> None:
    samples = {"train": {"factory": "toy.py:data", "kwargs": {"samples": 4000}}}
    job = toy_job(tmp_path, data=samples, grid={"alpha": AXIS, "beta": AXIS})
    said = lossgrid("plan", job, "--set", "evaluation.tolerance=0.01").stdout
    disk = re.search(r"MB for the results, at most ([0-9.]+) MB for toy.vtkhdf.samples until", said)
    assert disk is not None
    a_point = 2 * 2 * int(MOST * 4000) * 4  # values and influence of two metrics, float32
    assert float(disk.group(1)) == pytest.approx(51 * 51 * a_point / 1e6, rel=0.1)


AXIS = {"min": -1, "max": 1, "points": 101}


@pytest.mark.parametrize(("setting", "chunks"), [("8", 5), ("35", 1)])
def test_plan_counts_chunks(setting: str, chunks: int, tmp_path: Path) -> None:
    done = lossgrid("plan", toy_job(tmp_path), "--set", f"runtime.chunk={setting}")
    assert f"in about {chunks} chunks" in done.stdout


def test_status_while_a_run_loads(tmp_path: Path) -> None:
    run(toy_job(tmp_path))
    out = tmp_path / "out" / "toy.vtkhdf"
    with RunLock(out):
        said = lossgrid("status", out).stdout
    assert f"(process {os.getpid()}): loading, nothing computed yet" in said


def test_status_as_json(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    (tmp_path / "broken").touch()
    run(job)
    out = tmp_path / "out" / "toy.vtkhdf"
    failed = read_results(out).count(FAILED)
    with RunLock(out):
        (line,) = lossgrid("status", out, "--json").stdout.splitlines()
    found = json.loads(line)
    counts = {"points": 35, "done": 35 - failed, "failed": failed, "interpolated": 0, "pending": 0}
    assert counts.items() <= found.items()
    assert found["errors"][0]["message"] == "ValueError: too far out"
    assert found["work"]["process"] == os.getpid()
    assert found["work"]["points_per_second"] is None
    assert json.loads(lossgrid("status", out, "--json").stdout)["work"] is None


def test_export(tmp_path: Path) -> None:
    run(toy_job(tmp_path))
    folder = tmp_path / "out"
    before = set(files(folder))
    done = lossgrid("export", folder / "toy.vtkhdf")
    assert done.returncode == 0, done.stderr
    assert f"{folder / 'toy.vts'}: surface of 7 x 5 points, height" in done.stdout
    assert "ParaView 5.11" in done.stdout
    script = folder / "toy.py"
    options = ["--column", "train_loss", "--log", "--scale", 0.5, "--contours", "1.15,1.3"]
    done = lossgrid("export", folder / "toy.vtkhdf", *options, "--paraview", script)
    assert done.returncode == 0, done.stderr
    assert "height 0.5 x log10(train_loss / " in done.stdout
    assert "at 1.15, 1.3" in done.stdout
    made = {"toy.vts", "toy-contours.vtp", "toy.py"}
    assert set(files(folder)) == before | made
    done = lossgrid("export", folder / "toy.vtkhdf", "--contours", "1,x", "-o", folder / "a.vtp")
    assert done.returncode == 2
    assert "'1,x' is not a list of numbers" in done.stderr


def test_export_without_vtk_says_how_to_get_it(tmp_path: Path) -> None:
    run(toy_job(tmp_path))
    out = tmp_path / "out" / "toy.vtkhdf"
    code = "import sys; sys.modules['vtkmodules'] = None\nfrom lossgrid.cli import main\nmain()\n"
    command = [sys.executable, "-c", code, "export", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'lossgrid[vtk]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    table = tmp_path / "a.csv"
    subprocess.run([*command, "--output", str(table)], check=True)
    assert len(table.read_text().splitlines()) == 36


def test_html(tmp_path: Path) -> None:
    run(toy_job(tmp_path))
    out = tmp_path / "out" / "toy.vtkhdf"
    done = lossgrid("html", out, "--column", "train_loss")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out.with_suffix('.html')}: 7 x 5 points, ")
    page = out.with_suffix(".html").read_text()
    assert "<title>toy: loss landscape</title>" in page
    assert '"column": "train_loss"' in page
    assert '["Grid", "7 x 5 points over ' in page


def test_status_and_plot(tmp_path: Path) -> None:
    run(toy_job(tmp_path))
    out = tmp_path / "out" / "toy.vtkhdf"
    said = lossgrid("status", out).stdout
    assert "35 of 35 points done (100.0%), 0 failed" in said
    assert "finished" in said
    figure = tmp_path / "figure.pdf"
    done = lossgrid("plot", out, "--output", figure, "--column", "train_accuracy")
    assert done.returncode == 0, done.stderr
    assert figure.read_bytes().startswith(b"%PDF")
    first = (tmp_path / "out" / "toy.png").read_bytes()
    assert lossgrid("plot", out, "--column", "train_accuracy").returncode == 0
    assert (tmp_path / "out" / "toy-train_accuracy.png").exists()
    assert (tmp_path / "out" / "toy.png").read_bytes() == first


def test_figures(tmp_path: Path) -> None:
    run(toy_job(tmp_path))
    out = tmp_path / "out" / "toy.vtkhdf"
    style = tmp_path / "mine.mplstyle"
    style.write_text("font.size: 6")
    kind = ["--kind", "lines", "--linear", "--levels", "1.15,1.3", "--style", style]
    done = lossgrid("plot", out, *kind, "--size", 3, 2.5, "--no-title", "--no-trajectory")
    assert done.returncode == 0, done.stderr
    done = lossgrid("compare", out, out, "--columns", 1, "--column", "train_loss")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out' / 'compare.png'}\n"
    assert (tmp_path / "out" / "compare.png").exists()
    done = lossgrid("plot", out, "--levels", "1e9", "--output", tmp_path / "a.pdf")
    assert done.returncode == 2
    assert "--levels: none of them is within train_loss" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_histogram(tmp_path: Path) -> None:
    for name in ("small", "large"):
        torch.save({"weight": torch.randn(9, 9)}, tmp_path / f"{name}.pt")
    checkpoints = [tmp_path / "small.pt", tmp_path / "large.pt"]
    done = lossgrid("histogram", *checkpoints, "--log", "--size", 4, 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'small-histogram.png'}\n"
    assert (tmp_path / "small-histogram.png").exists()
    assert lossgrid("histogram", tmp_path / "gone.pt").returncode == 2


def test_status_of_failures(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:touchy", metrics=["loss"])
    (tmp_path / "broken").touch()
    run(job)
    out = tmp_path / "out" / "toy.vtkhdf"
    failed = read_results(out).count(FAILED)
    said = lossgrid("status", out).stdout
    assert f"{failed} failed" in said
    assert "tries again what has failed" in said
    assert "beta 1: ValueError: too far out" in said
    assert said.count("too far out") == 5
    assert f"and {failed - 5} more" in said


def test_set_overrides_the_job(tmp_path: Path) -> None:
    done = lossgrid("run", toy_job(tmp_path), "--set", "grid.alpha.points=3")
    assert done.returncode == 0, done.stderr
    assert "grid 3 x 5, 15 points pending" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in lossgrid("--debug", "run", tmp_path / "gone.yaml").stderr

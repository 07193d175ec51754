from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.store.metrics import write_metrics
from lossgrid.view.figures.convergence import _draw, convergence
from lossgrid.view.figures.options import Options
from tests.view.figures.looking import texts


def rows(epochs: int, **last: float) -> list[dict[str, float]]:
    values = {"train_loss": 0.5, "train_accuracy": 0.8, "test_loss": 0.6, "test_accuracy": 0.7}
    made = [
        {"epoch": epoch, "learning_rate": 0.1, **values, "seconds": 2.0}
        for epoch in range(1, epochs + 1)
    ]
    made[-1].update(last)
    return made


def run(folder: Path, epochs: int = 3, **last: float) -> Path:
    folder.mkdir(parents=True)
    write_metrics(rows(epochs, **last), folder / "metrics.csv")
    return folder


def test_runs_are_drawn_and_listed_as_they_ended(tmp_path: Path) -> None:
    style = tmp_path / "texts.mplstyle"
    style.write_text("svg.fonttype: none")
    small = run(tmp_path / "small", 3, test_accuracy=0.93245, train_loss=0.001)
    large = run(tmp_path / "large", 30, test_accuracy=0.9)
    told = convergence([small, large / "metrics.csv"], tmp_path / "a.svg", Options(style=style))
    path, *table = told.splitlines()
    assert path == str(tmp_path / "a.svg")
    assert [" ".join(line.split()) for line in table] == [
        "run epochs train loss train error test loss test error",
        "small 3 0.001 20.00 % 0.6 6.75 %",
        "large 30 0.5 20.00 % 0.6 10.00 %",
    ]
    said = texts(ElementTree.parse(tmp_path / "a.svg").getroot())
    assert {"epoch", "error (%)", "small", "large", "train", "test"} <= set(said)


def test_errors_are_what_accuracies_leave() -> None:
    axes = Figure().add_subplot()
    _draw(axes, "run", rows(3, test_accuracy=0.95), "accuracy", "C0")
    train, test = axes.lines
    assert np.asarray(train.get_ydata()) == pytest.approx([20, 20, 20])
    assert np.asarray(test.get_ydata()) == pytest.approx([30, 30, 5])
    assert (train.get_linestyle(), test.get_linestyle()) == ("-", "--")


def test_runs_without_accuracy_are_drawn_by_their_losses(tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        made = [{k: v for k, v in row.items() if "accuracy" not in k} for row in rows(2)]
        (tmp_path / name).mkdir()
        write_metrics(made, tmp_path / name / "metrics.csv")
        runs.append(tmp_path / name)
    assert "a    2       0.5" in convergence(runs, tmp_path / "a.png", Options())


def test_every_value_of_every_run_is_listed(tmp_path: Path) -> None:
    runs = [run(tmp_path / "a"), run(tmp_path / "b")]
    made = [{k: v for k, v in row.items() if "accuracy" not in k} for row in rows(2)]
    write_metrics(made, runs[0] / "metrics.csv")
    _, *table = convergence(runs, tmp_path / "a.png", Options()).splitlines()
    assert [" ".join(line.split()) for line in table] == [
        "run epochs train loss test loss train error test error",
        "a 2 0.5 0.6 - -",
        "b 3 0.5 0.6 20.00 % 30.00 %",
    ]


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    runs = [run(tmp_path / "x" / "out"), run(tmp_path / "y" / "out")]
    told = convergence(runs, tmp_path / "a.png", Options())
    assert all(f"{one}/metrics.csv  3" in told for one in runs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("", "no column epoch"),
        ("a,b\n1,2\n", "no column epoch"),
        ("epoch,train_loss\n1,many\n", "is no table of a training run"),
        ("epoch,train_loss\n1\n", "is no table of a training run"),
        ("epoch,train_loss\n1,2\n", "neither accuracy nor loss of both splits"),
    ],
)
def test_other_tables(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        convergence([tmp_path], tmp_path / "a.png", Options())

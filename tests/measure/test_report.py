from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.measure.measures import Options, measures
from lossgrid.measure.report import report
from lossgrid.view.snapshot import Snapshot
from tests.view.landscapes import Made, plane


def taken(landscape: Made, column: str = "test_loss") -> Snapshot:
    return Snapshot.of(landscape, column, [column])


def wells() -> Made:
    axis = np.linspace(-1, 1, 41)
    a, b = np.meshgrid(axis, axis)
    values = np.minimum(0.1 + (a + 0.5) ** 2 + b**2, 0.2 + 2 * (a - 0.5) ** 2 + b**2)
    return Made({"test_loss": values}, axis, axis, np.ones(values.shape, np.uint8))


def test_two_wells() -> None:
    found = measures(taken(wells()), Options(levels=(0.15, 0.6)))
    assert found["minimum"] == pytest.approx(0.1)
    assert (found["minimum_alpha"], found["minimum_beta"]) == pytest.approx((-0.5, 0))
    assert found["minima"] == 2
    saddle = wells().values["test_loss"][20, 20:31].max()
    assert found["depth"] == pytest.approx(saddle - 0.1)
    assert found["persistence"] == pytest.approx(saddle - 0.2)
    assert found["rim"] == pytest.approx(wells().values["test_loss"][:, 0].min() - 0.1)
    assert found["closed_0.15"] == 1
    assert found["closed_0.6"] == 0


def test_shallow_minima_do_not_count() -> None:
    shallow = measures(taken(wells()), Options(noise=2.0))
    assert (shallow["minima"], shallow["depth"], shallow["persistence"]) == (1, None, 0)


def test_a_line_has_no_region() -> None:
    values = np.abs(np.linspace(-1, 1, 21))
    line = Made({"test_loss": values}, np.linspace(-1, 1, 21), None, np.ones(21, np.uint8))
    found = measures(taken(line), Options())
    assert "minimum_beta" not in found
    assert not any(name.startswith("area") for name in found)
    assert (found["minimum"], found["rim"], found["sharpness_0.1"]) == pytest.approx((0, 1, 10))


@pytest.mark.parametrize(
    ("landscape", "column", "sentence"),
    [
        (plane(values={"test_accuracy": np.ones((17, 25))}), "test_accuracy", "are of losses"),
        (plane(status=np.zeros((17, 25), np.uint8)), "test_loss", "no finite value"),
    ],
)
def test_what_can_not_be_measured_is_said(landscape: Made, column: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        measures(taken(landscape, column), Options())


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made: dict[Path, Made] = {tmp_path / "a": wells(), tmp_path / "b": plane()}
    monkeypatch.setattr("lossgrid.measure.report.read_results", made.__getitem__)
    return list(made)


def test_all_forms_hold_the_same(files: list[Path]) -> None:
    objects = json.loads(report(files, None, Options(), "json"))
    rows = list(csv.DictReader(io.StringIO(report(files, None, Options(), "csv"))))
    lines = [line.split() for line in report(files, None, Options(), "text").splitlines()]
    assert [row["file"] for row in rows] == [str(file) for file in files]
    for name, *cells in lines:
        for number, cell in enumerate(cells):
            value = objects[number][name]
            assert rows[number][name] == ("" if value is None else str(value))
            if isinstance(value, float):
                assert float(cell) == pytest.approx(value, rel=1e-3)


def test_missing_points_are_counted(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = json.loads(report(files[1:], None, Options(), "json"))
    assert found["missing"] == 0
    holes: NDArray[np.uint8] = np.ones((17, 25), np.uint8)
    holes[0, :3] = 0
    assert measures(taken(plane(status=holes)), Options())["minimum"] == found["minimum"]
    monkeypatch.setattr("lossgrid.measure.report.read_results", lambda file: plane(status=holes))
    (found,) = json.loads(report(files[1:], None, Options(), "json"))
    assert found["missing"] == 3

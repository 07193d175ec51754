"""Exported files, read back by VTK and by Python's own readers."""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import (
    vtkXMLImageDataReader,
    vtkXMLPolyDataReader,
    vtkXMLStructuredGridReader,
)

from lossgrid.errors import UserError
from lossgrid.store.trajectory import Trajectory
from lossgrid.view.export import export, export_script, export_trajectory
from lossgrid.view.relief import Look
from tests.view.landscapes import ALPHA, BETA, BOWL, Made, line, plane

READERS = {
    ".vti": vtkXMLImageDataReader,
    ".vts": vtkXMLStructuredGridReader,
    ".vtp": vtkXMLPolyDataReader,
}


def opened(path: Path) -> Any:
    reader = READERS[path.suffix]()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


def points(data: Any) -> np.ndarray:
    return np.array([data.GetPoint(i) for i in range(data.GetNumberOfPoints())]).reshape(-1, 3)


def array(data: Any, name: str) -> np.ndarray:
    return vtk_to_numpy(data.GetPointData().GetArray(name))


def made(values: np.ndarray, **changes: object) -> Made:
    """A landscape of another size than the bowl."""
    alpha = np.linspace(-1, 1, values.shape[-1])
    beta = np.linspace(2, 5, len(values)) if values.ndim == 2 else None
    status = np.ones(values.shape, np.uint8)
    return plane(values={"test_loss": values}, alpha=alpha, beta=beta, status=status, **changes)


SURFACES = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=st.floats(width=64))
)


@settings(deadline=None, max_examples=60)
@given(SURFACES, st.sampled_from([".vti", ".vts", ".csv"]))
def test_every_value_is_exact_and_in_its_place(values: np.ndarray, suffix: str) -> None:
    """Any float64, NaN and infinities too: row = beta, column = alpha, alpha runs fastest."""
    landscape = made(values)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, f"a{suffix}")
        if suffix == ".vts" and not np.isfinite(values).any():
            with pytest.raises(UserError, match="nothing to draw"):
                export([landscape], output, Look())
            return
        export([landscape], output, Look())
        if suffix == ".csv":
            header, *rows = csv.reader(output.open())
            assert header == ["alpha", "beta", "status", "test_loss"]
            table = np.array(rows, float)
            places, found, status = table[:, :2], table[:, 3], table[:, 2]
        else:
            data = opened(output)
            ny, nx = values.shape
            assert data.GetExtent() == (0, nx - 1, 0, ny - 1, 0, 0)
            places, found = points(data)[:, :2], array(data, "test_loss")
            status = array(data, "status")
    np.testing.assert_array_equal(found, values.ravel())
    assert (status == 1).all()
    alpha, beta = np.meshgrid(landscape.alpha, landscape.beta)
    exact = {"rtol": 0, "atol": 1e-14 if suffix == ".vti" else 0}  # an image has steps
    np.testing.assert_allclose(places[:, 0], alpha.ravel(), **exact)
    np.testing.assert_allclose(places[:, 1], beta.ravel(), **exact)


def test_all_columns_are_there(tmp_path: Path) -> None:
    columns = {"test_loss": BOWL, "train_loss": 2 * BOWL, "test_accuracy": 1 / (1 + BOWL)}
    for suffix in (".vti", ".vts"):
        export([plane(values=columns)], tmp_path / f"a{suffix}", Look())
        data = opened(tmp_path / f"a{suffix}")
        assert data.GetPointData().GetScalars().GetName() == "test_loss"
        for name, values in columns.items():
            np.testing.assert_array_equal(array(data, name), values.ravel())
    assert sorted(os.listdir(tmp_path)) == ["a.vti", "a.vts"]


def test_accuracies_are_as_they_are_stored(tmp_path: Path) -> None:
    """A figure leaves out those whose loss is NaN."""
    values = {"test_loss": np.full(BOWL.shape, np.nan), "test_accuracy": BOWL / 100}
    export([plane(values=values)], tmp_path / "a.vti", Look())
    np.testing.assert_array_equal(
        array(opened(tmp_path / "a.vti"), "test_accuracy"), BOWL.ravel() / 100
    )


def heights(landscape: Made, folder: Path, **look: object) -> np.ndarray:
    export([landscape], folder / "a.vts", Look(**look))  # type: ignore[arg-type]
    return points(opened(folder / "a.vts"))[:, 2]


def test_heights_are_half_the_width(tmp_path: Path) -> None:
    """Here by magnitude, as the bowl's values span more than a factor of 20."""
    expected = np.log10(BOWL / BOWL.min()) / np.log10(BOWL.max() / BOWL.min()) * 1.5
    np.testing.assert_allclose(heights(plane(), tmp_path), expected.ravel(), atol=1e-12)
    rise = (BOWL - BOWL.min()) / np.ptp(BOWL) * 1.5
    found = heights(plane(), tmp_path, logarithmic=False)
    np.testing.assert_allclose(found, rise.ravel(), atol=1e-12)


def test_heights_to_order(tmp_path: Path) -> None:
    decades = heights(plane(), tmp_path, logarithmic=True, stretch=2.0)
    np.testing.assert_allclose(decades, 2 * np.log10(BOWL / BOWL.min()).ravel(), atol=1e-12)
    cut = heights(plane(), tmp_path, logarithmic=False, stretch=1.0, clamp=3.0)
    np.testing.assert_allclose(cut, np.minimum(BOWL, 3).ravel() - BOWL.min(), atol=1e-12)
    assert not heights(plane(), tmp_path, stretch=0.0).any()
    other = plane(values={"test_loss": BOWL, "train_loss": np.sqrt(BOWL)})
    rise = heights(other, tmp_path, column="train_loss", logarithmic=False, stretch=1.0)
    np.testing.assert_allclose(rise, np.sqrt(BOWL).ravel() - 0.1, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-200, 1e-3, 1.0, 1e9, 1e250])
def test_no_needles(factor: float, tmp_path: Path) -> None:
    values = BOWL * factor
    values[3, 4], values[9, 9] = 1e300, np.inf
    found = heights(plane(values={"test_loss": values}), tmp_path)
    assert found.min() == 0
    assert found.max() == pytest.approx(1.5)
    assert np.median(found) > 0.1


def test_a_constant_surface_is_flat(tmp_path: Path) -> None:
    flat = plane(values={"test_loss": np.full(BOWL.shape, 2.3)})
    assert not heights(flat, tmp_path).any()
    with pytest.raises(UserError, match=r"no contour lines, test_loss is from 2\.3 to 2\.3"):
        export([flat], tmp_path / "a.vtp", Look())


def gappy() -> Made:
    values, status = BOWL.copy(), np.ones(BOWL.shape, np.uint8)
    status[:8, :10] = 0
    values[status == 0] = np.nan
    values[0, 0] = -5.0  # written, but its status is not there yet
    values[12:, 20:] = np.inf
    values[16, 0] = np.nan
    return plane(values={"test_loss": values}, status=status)


def test_what_is_missing_is_hidden_and_told(tmp_path: Path) -> None:
    told = export([gappy()], tmp_path / "a.vts", Look())
    assert "made: 18.8 % of 425 points pending, 26 not finite" in told
    data = opened(tmp_path / "a.vts")
    missing = gappy().status == 0
    assert np.isnan(array(data, "test_loss").reshape(BOWL.shape)[missing]).all()
    missing[16, 0] = True
    visible = [bool(data.IsPointVisible(i)) for i in range(BOWL.size)]
    np.testing.assert_array_equal(visible, ~missing.ravel())
    assert np.isfinite(points(data)).all()
    top = points(data)[:, 2].reshape(BOWL.shape)
    assert (top[12:, 20:] == top.max()).all()
    export([gappy()], tmp_path / "a.csv", Look())
    first = (tmp_path / "a.csv").read_text().splitlines()[1]
    assert first == "-1.0,0.0,0,nan"


def test_nothing_at_all_is_still_a_table_and_an_image(tmp_path: Path) -> None:
    empty = plane(
        values={"test_loss": np.full(BOWL.shape, np.nan)}, status=np.zeros(BOWL.shape, np.uint8)
    )
    for suffix in (".csv", ".vti"):
        assert "100 % of 425 points pending" in export([empty], tmp_path / f"a{suffix}", Look())
    with pytest.raises(UserError, match="nothing to draw"):
        export([empty], tmp_path / "a.vts", Look())


@pytest.mark.parametrize("logarithmic", [True, False])
def test_contour_lines_lie_at_their_levels(logarithmic: bool, tmp_path: Path) -> None:
    """On a surface that is bilinear in what is contoured, they are exact along grid lines."""
    slope = np.broadcast_to(np.linspace(1, 3, ALPHA.size), BOWL.shape).copy()
    values = 10**slope if logarithmic else slope
    levels = (20.0, 300.0) if logarithmic else (1.3, 2.9)
    look = Look(logarithmic=logarithmic, levels=levels, stretch=2.0)
    export([plane(values={"test_loss": values})], tmp_path / "a.vtp", look)
    lines = opened(tmp_path / "a.vtp")
    assert lines.GetNumberOfLines() == lines.GetNumberOfCells() == 2
    found = array(lines, "test_loss")
    assert set(found) == set(levels)
    reached = np.log10(found) if logarithmic else found
    x, y, z = points(lines).T
    np.testing.assert_allclose(x, np.interp(reached, slope[0], ALPHA), atol=1e-6)
    np.testing.assert_allclose(z, 2 * (reached - 1), atol=1e-6)
    for level in levels:
        np.testing.assert_allclose(sorted(y[found == level]), BETA, atol=1e-6)


def test_contour_lines_keep_off_what_is_missing(tmp_path: Path) -> None:
    told = export([gappy()], tmp_path / "a.vtp", Look())
    assert "contour lines of test_loss at 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10" in told
    lines = opened(tmp_path / "a.vtp")
    x, y, z = points(lines).T
    assert np.isfinite(z).all()
    assert lines.GetNumberOfPoints() > 100
    assert not ((x < ALPHA[10] - 1e-9) & (y < BETA[8] - 1e-9)).any()


def test_points_that_are_no_neighbours_have_no_contour_lines(tmp_path: Path) -> None:
    """Those of a run that has just begun."""
    status = np.zeros(BOWL.shape, np.uint8)
    status[::4, ::4] = 1
    begun = plane(values={"test_loss": np.where(status, BOWL, np.nan)}, status=status)
    with pytest.raises(UserError, match=r"no contour lines.*\(91.8 % of 425 points pending\)"):
        export([begun], tmp_path / "a.vtp", Look())
    told = export_script([begun], tmp_path / "a.vts", tmp_path / "a.py", Look())
    assert "contour lines" not in told
    assert sorted(os.listdir(tmp_path)) == ["a.py", "a.vts"]


def trained(*places: tuple[float, float]) -> dict[str, Trajectory]:
    """One trajectory, sgd; true losses are the checkpoints' numbers, epochs ten times that."""
    alpha, beta = np.array(places).T
    numbers = np.arange(alpha.size, dtype=np.float64)
    files = tuple(f"{number:g}.pt" for number in numbers)
    values, done = {"test_loss": numbers}, np.ones(alpha.size, np.uint8)
    return {"sgd": Trajectory(alpha, beta, files, 10 * numbers, None, values, done, None)}


def test_a_trajectory_lies_on_the_surface(tmp_path: Path) -> None:
    """Over a bilinear surface, whose heights are known everywhere."""
    slope = 1 + ALPHA[None] + 2 * BETA[:, None]
    places = [(0.0, 0.0), (1.5, 1.0), (1.5, 1.9)]
    look = Look(logarithmic=False, stretch=2.0)
    surface = plane(values={"test_loss": slope})
    told = export_trajectory(surface, trained(*places), "sgd", tmp_path / "a.vtp", look)
    assert told.endswith("a.vtp: path of 3 checkpoints over the surface")
    path = opened(tmp_path / "a.vtp")
    assert path.GetNumberOfLines() == 1
    assert path.GetNumberOfPoints() > 50
    x, y, z = points(path).T
    under = array(path, "surface_test_loss")
    np.testing.assert_allclose(under, 1 + x + 2 * y, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(z, 2 * (under - slope.min()), rtol=1e-6, atol=1e-6)
    checkpoints = array(path, "is_checkpoint") > 0
    np.testing.assert_allclose(np.c_[x, y][checkpoints], places, atol=1e-6)
    np.testing.assert_array_equal(array(path, "true_test_loss")[checkpoints], [0, 1, 2])
    np.testing.assert_allclose(array(path, "epoch"), 10 * array(path, "checkpoint"))


def test_a_trajectory_is_cut_where_there_is_no_surface(tmp_path: Path) -> None:
    places = [(0.0, 0.0), (0.0, 5.0), (0.5, 5.0), (0.5, 1.0)]
    told = export_trajectory(plane(), trained(*places), "sgd", tmp_path / "a.vtp", Look())
    assert "path of 4 checkpoints, 2 of them beside it and left out, over the surface" in told
    path = opened(tmp_path / "a.vtp")
    assert path.GetNumberOfLines() == 2
    assert (points(path)[:, 1] <= BETA[-1]).all()
    assert set(array(path, "checkpoint")[array(path, "is_checkpoint") > 0]) == {0, 3}


@pytest.mark.parametrize(
    ("name", "output", "look", "words"),
    [
        ("adam", "a.vtp", Look(), r"no trajectory 'adam' \(the file has sgd\)"),
        ("sgd", "a.vts", Look(), r"a.vts: a trajectory's file ends in .vtp"),
        ("sgd", "a.vtp", Look(levels=(1.0,)), r"holds no contour lines"),
        ("sgd", "a.vtp", Look(), r"no part of sgd lies on the surface"),
    ],
)
def test_a_trajectory_that_can_not_be_had(
    name: str, output: str, look: Look, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        export_trajectory(plane(), trained((9, 9), (9, 8)), name, tmp_path / output, look)
    assert not (tmp_path / output).exists()


def test_levels_that_are_not_reached(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no contour lines, test_loss is from 0\.01 to"):
        export([plane()], tmp_path / "a.vtp", Look(levels=(1e9, -1.0)))


def test_a_series_has_one_scale(tmp_path: Path) -> None:
    first, second = plane(name="first"), plane(name="second", values={"test_loss": BOWL * 9})
    export([first, second], tmp_path / "s.pvd", Look())
    entries = ElementTree.parse(tmp_path / "s.pvd").findall("Collection/DataSet")
    assert [(e.get("timestep"), e.get("file")) for e in entries] == [
        ("0", "s-000.vts"),
        ("1", "s-001.vts"),
    ]
    low, high = (points(opened(tmp_path / e.get("file", "")))[:, 2] for e in entries)
    assert (low.min(), high.max()) == pytest.approx((0, 1.5))
    decade = 1.5 / np.log10(9 * BOWL.max() / BOWL.min())
    np.testing.assert_allclose(high - low, decade * np.log10(9), rtol=1e-9)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("suffix", [".vti", ".vts", ".csv"])
def test_a_line(suffix: str, tmp_path: Path) -> None:
    curve = 0.1 + ALPHA**2
    output = tmp_path / f"a{suffix}"
    export([made(curve)], output, Look())
    if suffix == ".csv":
        assert output.read_text().splitlines()[:2] == ["alpha,status,test_loss", "-1.0,1,1.1"]
        return
    data = opened(output)
    np.testing.assert_array_equal(array(data, "test_loss"), curve)
    np.testing.assert_allclose(points(data)[:, 0], np.linspace(-1, 1, 25), atol=1e-14)
    assert not points(data)[:, 1].any()


@pytest.mark.parametrize("shape", [(1, 25), (17, 1), (25,)])
def test_what_has_no_width_has_no_contour_lines(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a line has no contour lines"):
        export(
            [made(np.arange(np.prod(shape), dtype=float).reshape(shape))],
            tmp_path / "a.vtp",
            Look(),
        )


def test_wrong_wishes_are_told(tmp_path: Path) -> None:
    negative = plane(values={"test_loss": -BOWL})
    curve = line(name="other")
    for landscapes, name, look, told in [
        ([plane()], "a.stl", Look(), r"must end in one of \.vts, \.vtp, \.vti, .*\.pvd, not"),
        ([plane()], "a", Look(), "must end in one of"),
        ([plane(), plane()], "a.vts", Look(), r"a series of them is a --output X\.pvd"),
        ([plane()], "a.csv", Look(logarithmic=True), "holds the columns as they are"),
        ([plane()], "a.vts", Look(levels=(1.0,)), "holds no contour lines"),
        ([plane()], "a.vts", Look(column="tset_loss"), "did you mean 'test_loss'"),
        ([plane()], "a.vts", Look(clamp=-1.0), "all values are above"),
        ([plane()], "a.vts", Look(clamp=float("nan")), "--clamp nan"),
        ([plane()], "a.vts", Look(stretch=float("inf")), "--scale inf"),
        ([plane(), curve], "a.pvd", Look(), "other and made: a line and a plane are no series"),
        ([curve, plane()], "a.pvd", Look(), "made and other: a line and a plane are no series"),
        ([negative], "a.vts", Look(logarithmic=True), "no value is positive"),
    ]:
        with pytest.raises(UserError, match=told):
            export(landscapes, tmp_path / name, look)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".vts", ".vtp", ".vti", ".csv"])
def test_an_export_is_whole_or_not_there(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / "new" / f"a{suffix}"
    export([plane()], output, Look())
    before = output.read_bytes()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written: "):
        export([plane()], tmp_path / "file" / output.name, Look())
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(UserError, match="can't be written: Is a directory"):
        export([plane()], tmp_path / f"folder{suffix}", Look())
    assert os.listdir(output.parent) == [output.name]
    assert output.read_bytes() == before


@pytest.mark.parametrize("suffix", [".vts", ".vtp", ".vti"])
def test_what_vtk_cannot_write_is_told(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """/dev/full takes no byte, as a full disk does."""
    (tmp_path / f"a{suffix}").write_text("old")
    (tmp_path / "full").symlink_to("/dev/full")
    monkeypatch.setattr(Path, "with_name", lambda *_: tmp_path / "full")
    with pytest.raises(UserError, match="can't be written: No space left on device"):
        export([plane()], tmp_path / f"a{suffix}", Look())
    assert (tmp_path / f"a{suffix}").read_text() == "old"
    assert capfd.readouterr().err == ""


def test_files_are_compressed_and_binary(tmp_path: Path) -> None:
    flat = plane(values={"test_loss": np.full(BOWL.shape, 2.3)})
    export([flat], tmp_path / "a.vti", Look())
    raw = (tmp_path / "a.vti").read_bytes()
    assert b'compressor="vtkLZ4DataCompressor"' in raw
    assert b'format="binary"' in raw
    assert len(raw) < BOWL.size * 8


@pytest.mark.parametrize("suffix", [".vts", ".vti", ".vtp"])
def test_files_are_well_formed(suffix: str, tmp_path: Path) -> None:
    """ParaView's parser may look at all of a file before it acts upon the beginning."""
    output = tmp_path / f"a{suffix}"
    export([plane()], output, Look())
    assert ElementTree.parse(output).getroot().tag == "VTKFile"

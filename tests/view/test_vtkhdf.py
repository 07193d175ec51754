"""Results files as they are, in VTK's own reader: the oldest version that reads them, the newest.

A version that can't read a file may crash, so that it reads in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lossgrid.engine.messages import DONE, Result
from lossgrid.store.create import Contents, create
from lossgrid.store.results import read_results
from lossgrid.store.writer import PointWriter
from tests.absent import absent
from tests.mpi import ROOT
from tests.toy import toy_job

READ = """
import sys
import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkVersion
from vtkmodules.vtkIOHDF import vtkHDFReader
file, found = sys.argv[1:]
reader = vtkHDFReader()
assert reader.CanReadFile(file)
reader.SetFileName(file)
reader.Update()
image = reader.GetOutput()
data = image.GetPointData()
arrays = [data.GetArray(index) for index in range(data.GetNumberOfArrays())]
matrix = image.GetDirectionMatrix()
np.savez(
    found,
    version=vtkVersion.GetVTKVersion(),
    kind=image.GetClassName(),
    extent=image.GetExtent(),
    origin=image.GetOrigin(),
    spacing=image.GetSpacing(),
    direction=[[matrix.GetElement(i, j) for j in range(3)] for i in range(3)],
    **{"column " + array.GetName(): vtk_to_numpy(array) for array in arrays},
)
"""
COLUMNS = ("test_accuracy", "test_loss", "train_loss", "train_loss_sem")
"""In the order in which HDF5 lists them."""


@pytest.fixture(params=[".venv-vtk93", ".venv"], ids=["oldest", "newest"])
def python(request: pytest.FixtureRequest) -> Path:
    """The Python of an environment with each version of VTK."""
    found = ROOT / request.param / "bin" / "python"
    if not found.exists():
        absent(f"no environment {request.param}: `make environments` creates it")
    return found


def vtk_read(python: Path, file: Path) -> dict[str, NDArray[np.generic]]:
    found = file.with_suffix(".npz")
    done = subprocess.run(
        [python, "-c", READ, file, found], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    with np.load(found) as arrays:
        return dict(arrays)


def axis(points: int, start: float) -> NDArray[np.float64]:
    return start + 0.25 * np.arange(points)  # exact, whichever way it is computed


def values(count: int) -> NDArray[np.float64]:
    """Of four columns, among them all that a float64 can be."""
    made = np.random.default_rng(count).normal(size=(count, len(COLUMNS)))
    special = [np.inf, -np.inf, np.nan, -0.0, 5e-324, 1.7e308]
    made.flat[: len(special)] = special[: made.size]
    return made


@pytest.mark.parametrize(
    "shape",
    [(6,), (1,), (5, 5), (4, 7), (7, 3), (6, 1), (1, 6), (1, 1), (2, 300)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_every_value_is_where_it_belongs(
    shape: tuple[int, ...], python: Path, tmp_path: Path
) -> None:
    """The shape is that of the arrays: (points along beta, points along alpha), or a line."""
    alpha, beta = axis(shape[-1], -1.0), axis(shape[0], 2.0) if len(shape) == 2 else None
    file = tmp_path / "a.vtkhdf"
    create(file, Contents(alpha, beta, COLUMNS, {"x": {}}))
    count = int(np.prod(shape))
    expected = values(count)
    done = np.arange(0, count, 2)
    status, seconds = np.full(done.size, DONE, np.uint8), np.zeros(done.size, np.float32)
    with PointWriter(file, COLUMNS) as writer:
        writer.write([Result(0, 1, done, expected[done], status, seconds, [])])
    found = vtk_read(python, file)
    assert found["kind"] == "vtkImageData"
    ny, nx = np.empty(shape)[None].shape[-2:]
    assert found["extent"].tolist() == [0, nx - 1, 0, ny - 1, 0, 0]
    assert found["origin"].tolist() == [-1.0, 0.0 if beta is None else 2.0, 0.0]
    steps = [0.25 if points > 1 else 1.0 for points in (nx, ny)]
    assert found["spacing"].tolist() == [*steps, 1.0]
    assert found["direction"].tolist() == np.eye(3).tolist()
    assert sorted(name for name in found if name.startswith("column")) == [
        f"column {name}" for name in COLUMNS
    ]
    expected[1::2] = np.nan
    for index, name in enumerate(COLUMNS):
        assert found[f"column {name}"].tobytes() == expected[:, index].tobytes()


def test_a_file_that_a_run_is_writing(python: Path, tmp_path: Path) -> None:
    """The run computes some points and is then long at work on the next."""
    job = toy_job(tmp_path, loss="toy.py:endless", metrics=["loss"], runtime={"chunk": 1})
    command = [sys.executable, "-m", "lossgrid", "run", str(job)]
    file = tmp_path / "out" / "toy.vtkhdf"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            await_a_point(file)
            found = vtk_read(python, file)
            assert process.poll() is None
        finally:
            process.kill()
    assert found["extent"].tolist() == [0, 6, 0, 4, 0, 0]
    with h5py.File(file) as stored:
        later = stored["VTKHDF/PointData/train_loss"][...].ravel()
    read = found["column train_loss"]
    there = ~np.isnan(read)
    assert 0 < there.sum() < read.size
    np.testing.assert_array_equal(read[there], later[there])


def await_a_point(file: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if file.exists() and read_results(file).count(DONE):
            return
        time.sleep(0.1)
    pytest.fail("no point was stored in time")

"""Landscapes as data sets of VTK, and VTK's XML files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.view.path import SurfacePath
from lossgrid.view.relief import Relief
from lossgrid.view.saving import whole
from lossgrid.view.snapshot import Snapshot

try:
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonCore import vtkCommand, vtkDataArray, vtkPoints
    from vtkmodules.vtkCommonDataModel import (
        vtkCellArray,
        vtkDataSet,
        vtkDataSetAttributes,
        vtkImageData,
        vtkPolyData,
        vtkStructuredGrid,
    )
    from vtkmodules.vtkFiltersCore import vtkContourFilter, vtkStripper
    from vtkmodules.vtkIOXML import (
        vtkXMLImageDataWriter,
        vtkXMLPolyDataWriter,
        vtkXMLStructuredGridWriter,
    )
except ImportError as missing:
    raise UserError(
        f"VTK's files need the vtk library ({missing}): pip install 'lossgrid[vtk]'"
    ) from missing

_WRITERS = {
    "vtkImageData": vtkXMLImageDataWriter,
    "vtkPolyData": vtkXMLPolyDataWriter,
    "vtkStructuredGrid": vtkXMLStructuredGridWriter,
}
_BLOCK_BYTES = 1 << 20


def image(snapshot: Snapshot) -> vtkImageData:
    """The flat plane, alpha along x and beta along y, with all columns and the status."""
    alpha, beta = snapshot.alpha, snapshot.rows
    flat = vtkImageData()
    flat.SetDimensions(alpha.size, beta.size, 1)
    flat.SetOrigin(float(alpha[0]), float(beta[0]), 0.0)
    flat.SetSpacing(_spacing(alpha), _spacing(beta), 1.0)
    _add_columns(flat, snapshot)
    return flat


def surface(snapshot: Snapshot, relief: Relief) -> vtkStructuredGrid:
    """The warped surface, alpha along x, beta along y, with all columns and the status.

    Points without a value are marked as hidden and lie at height 0.
    """
    grid = vtkStructuredGrid()
    ny, nx = np.atleast_2d(snapshot.values).shape
    grid.SetDimensions(nx, ny, 1)
    heights = relief.heights(snapshot.values)
    grid.SetPoints(_points(snapshot, heights))
    _add_columns(grid, snapshot)
    hidden = np.isnan(heights)
    if hidden.any():
        ghosts = np.where(hidden, np.uint8(vtkDataSetAttributes.HIDDENPOINT), np.uint8(0))
        _add(grid, {vtkDataSetAttributes.GhostArrayName(): ghosts})
    return grid


def mesh(snapshot: Snapshot, relief: Relief) -> vtkPolyData:
    """The warped surface of a plane as squares, those left out of which a corner has no value."""
    heights = relief.heights(snapshot.values)
    squares = vtkPolyData()
    squares.SetPoints(_points(snapshot, heights))
    squares.SetPolys(_squares(~np.isnan(heights)))
    return squares


def contours(snapshot: Snapshot, relief: Relief) -> vtkPolyData:
    """The relief's contour lines on its surface, joined, each point with its level.

    Squares with a corner that has no value have none; there may be no line at all.
    """
    lines = vtkPolyData()
    if not relief.levels:
        return lines
    squares = mesh(snapshot, relief)
    squares.GetPointData().SetScalars(_array("rise", relief.rise(snapshot.values).ravel()))
    filtered = vtkContourFilter()
    filtered.SetInputData(squares)
    rises = relief.rise(np.array(relief.levels))
    for number, level in enumerate(rises):
        filtered.SetValue(number, level)
    joined = vtkStripper()
    joined.SetInputConnection(filtered.GetOutputPort())
    joined.JoinContiguousSegmentsOn()
    joined.SetMaximumLength(snapshot.values.size)
    joined.Update()
    found = joined.GetOutput()
    if not found.GetNumberOfLines():
        return lines
    lines.SetPoints(found.GetPoints())
    lines.SetLines(found.GetLines())
    reached = numpy_support.vtk_to_numpy(  # type: ignore[no-untyped-call]
        found.GetPointData().GetArray("rise")
    )
    level_of = np.searchsorted((rises[1:] + rises[:-1]) / 2, reached)  # the nearest
    _add(lines, {snapshot.column: np.array(relief.levels)[level_of]})
    return lines


def path(path: SurfacePath, relief: Relief) -> vtkPolyData:
    """A path over the surface, in as many lines as pieces of it lie there, with all columns."""
    places = np.stack([path.alpha, path.beta, relief.heights(path.under)], axis=1)
    pieces = path.pieces()
    kept = np.concatenate(pieces)
    points = vtkPoints()
    points.SetData(_array("places", np.ascontiguousarray(places[kept])))
    lines = vtkCellArray()
    begin = 0
    for piece in pieces:
        lines.InsertNextCell(piece.size, list(range(begin, begin := begin + piece.size)))
    data = vtkPolyData()
    data.SetPoints(points)
    data.SetLines(lines)
    _add(data, {name: values[kept] for name, values in path.columns.items()})
    return data


def write(data: vtkDataSet, output: Path) -> None:
    """Write VTK's XML file for this kind of data: binary, compressed, whole or not at all.

    Raises:
        UserError: it can't be written.
    """
    writer = _WRITERS[data.GetClassName()]()
    writer.SetInputData(data)
    writer.SetDataModeToBinary()  # VTK before 9.3.1 can't read appended data with a newer expat
    writer.SetCompressorTypeToLZ4()
    writer.SetBlockSize(_BLOCK_BYTES)
    # An error is told below, not by VTK on stderr.
    for teller in (writer, writer.GetExecutive()):
        teller.AddObserver(vtkCommand.ErrorEvent, lambda *_: None)
    with whole(output) as partial:
        writer.SetFileName(os.fspath(partial))
        if not writer.Write() or writer.GetErrorCode():
            raise OSError(writer.GetErrorCode(), _reason(writer.GetErrorCode()))


def _reason(code: int) -> str:
    """What one of VTK's error codes means; the small ones are the system's."""
    from vtkmodules.vtkCommonMisc import vtkErrorCode

    return str(vtkErrorCode.GetStringFromErrorCode(code))


def _spacing(axis: NDArray[np.float64]) -> float:
    return float(np.ptp(axis)) / (axis.size - 1) if axis.size > 1 else 1.0


def _points(snapshot: Snapshot, heights: NDArray[np.float64]) -> vtkPoints:
    """Points in the order of the values; those without a height lie at 0."""
    places = np.empty((*np.atleast_2d(heights).shape, 3))
    places[..., 0] = snapshot.alpha
    places[..., 1] = snapshot.rows[:, None]
    places[..., 2] = np.nan_to_num(heights, nan=0.0)
    points = vtkPoints()
    points.SetData(_array("places", places.reshape(-1, 3)))
    return points


def _squares(present: NDArray[np.bool_]) -> vtkCellArray:
    """The squares between neighbouring points whose four corners are all present."""
    index = np.arange(present.size, dtype=np.int32).reshape(present.shape)
    corners = [np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1]]
    complete = np.logical_and.reduce([present[corner] for corner in corners])
    cells = vtkCellArray()
    connectivity = np.stack([index[corner][complete] for corner in corners], axis=-1)
    # VTK makes this array one of its own types, which would not keep NumPy's memory alive.
    cells.SetData(4, _array("corners", connectivity.ravel(), deep=True))
    return cells


def _add_columns(data: vtkDataSet, snapshot: Snapshot) -> None:
    _add(data, {**snapshot.curves, "status": snapshot.status})
    data.GetPointData().SetActiveScalars(snapshot.column)


def _add(data: vtkDataSet, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, values in arrays.items():
        data.GetPointData().AddArray(_array(name, values.ravel()))


def _array(name: str, values: NDArray[Any], deep: bool = False) -> vtkDataArray:
    """A view of values that keeps them alive, or a deep copy."""
    array: vtkDataArray = numpy_support.numpy_to_vtk(values, deep)  # type: ignore[no-untyped-call]
    array.SetName(name)
    return array

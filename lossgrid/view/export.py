"""Results files for other programs, the format chosen by the suffix of the output.

Only what needs VTK loads it: a table does not.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from lossgrid.engine.messages import PENDING
from lossgrid.errors import UserError
from lossgrid.store.trajectory import Trajectory
from lossgrid.view import Landscape
from lossgrid.view.paraview import script
from lossgrid.view.path import SurfacePath
from lossgrid.view.relief import Look, Relief
from lossgrid.view.saving import whole
from lossgrid.view.snapshot import Snapshot, choose_column, is_plane

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData


def export(results: Sequence[Landscape], output: Path, look: Look) -> str:
    """Write landscapes into `output` in the format of its suffix.

    `.vts` is a surface, `.vtp` its contour lines, `.vti` the flat plane, `.csv` a table, `.nc`
    netCDF, `.h5` as the reference code of Li et al. writes it, `.npz` as Landscaper does, and
    `.pvd` a series of surfaces on one scale, each in a .vts beside it. All but .pvd take one
    landscape.
    What is pending or failed is NaN in all of them. `look` may only say what concerns the format.

    Returns: what was written and what is missing, for people.

    Raises:
        UserError: there is no such format or column, nothing to draw, or no way to write.
    """
    formats = {**_SHAPED, **_PLAIN, ".pvd": _series}
    suffix = output.suffix.lower()
    if suffix not in formats:
        raise UserError(
            f"{output}: an export's name must end in one of {', '.join(formats)}, "
            f"not in {output.suffix!r}"
        )
    if look.levels is not None and suffix != ".vtp":
        raise UserError(f"{output}: holds no contour lines; levels are for .vtp or a script")
    if suffix == ".pvd":
        return _series(results, output, look)
    if len(results) > 1:
        raise UserError(f"{output}: holds one results file; a series of them is a --output X.pvd")
    if suffix in _SHAPED:
        return _SHAPED[suffix](_Scene.of(results[0], look), output)
    if look != (Look(column=look.column) if suffix in _OF_ONE_COLUMN else Look()):
        raise UserError(
            f"{output}: holds the columns as they are; how a surface looks concerns "
            f"{', '.join(_SHAPED)} and .pvd"
        )
    return _PLAIN[suffix](_all_columns(results[0], look.column), output)


def export_script(results: Sequence[Landscape], surface: Path, output: Path, look: Look) -> str:
    """Write the only landscape's surface (.vts), its contour lines, and a script that draws both.

    Returns: what was written and what is missing, for people.

    Raises:
        UserError: as `export`, and if the landscape has no surface.
    """
    if surface.suffix.lower() != ".vts" or output.suffix.lower() != ".py" or len(results) > 1:
        raise UserError(f"{output}: a ParaView script ends in .py and draws one surface, a .vts")
    scene = _Scene.of(results[0], look)
    if not scene.snapshot.is_plane:
        raise UserError(
            f"{scene.snapshot.name}: is a line, and ParaView scripts draw planes; see plot"
        )
    told = [_surface(scene, surface)]
    lines, found = None, _lines(scene)
    if found is not None:
        lines = surface.with_name(f"{surface.stem}-contours.vtp")
        told.insert(0, _write_lines(scene, found, lines).splitlines()[0])
    with whole(output) as partial:
        partial.write_text(script(scene.snapshot, scene.relief, surface, lines, output))
    return "\n".join([f"{output}: draws it with pvbatch or ParaView's Python shell", *told])


def export_trajectory(
    results: Landscape,
    trajectories: Mapping[str, Trajectory],
    name: str,
    output: Path,
    look: Look,
) -> str:
    """Write a training run's path over the surface as a .vtp file, on the surface's own relief.

    Returns: what was written and what is missing, for people.

    Raises:
        UserError: as `export`, and if there is no such trajectory or it lies beside the surface.
    """
    from lossgrid.view import vtkfiles

    if output.suffix.lower() != ".vtp":
        raise UserError(f"{output}: a trajectory's file ends in .vtp")
    if look.levels is not None:
        raise UserError(f"{output}: holds no contour lines; export them without --trajectory")
    if name not in trajectories:
        known = ", ".join(trajectories) or "none: 'trajectories' in a job file makes some"
        raise UserError(f"{results.name}: no trajectory {name!r} (the file has {known})")
    scene = _Scene.of(results, look)
    path = SurfacePath.of(trajectories[name], scene.snapshot)
    if not np.isfinite(path.under).any():
        raise UserError(f"{results.name}: no part of {name} lies on the surface")
    vtkfiles.write(vtkfiles.path(path, scene.relief), output)
    return _told(output, f"path of {path.words()} over the surface", scene.snapshot)


@dataclass(frozen=True)
class _Scene:
    snapshot: Snapshot
    relief: Relief

    @classmethod
    def of(cls, results: Landscape, look: Look) -> _Scene:
        snapshot = _all_columns(results, look.column)
        snapshot.check_drawable()
        values, fraction = snapshot.values, snapshot.is_fraction
        return cls(snapshot, Relief.of(values, snapshot.width, look, fraction))


def _all_columns(results: Landscape, column: str | None) -> Snapshot:
    columns = list(results.values)
    return Snapshot.of(results, choose_column(results, column), columns, stored=True)


def _surface(scene: _Scene, output: Path) -> str:
    from lossgrid.view import vtkfiles

    snapshot, relief = scene.snapshot, scene.relief
    vtkfiles.write(vtkfiles.surface(snapshot, relief), output)
    kind = "surface" if snapshot.is_plane else "curve"
    height = relief.words(snapshot.column)
    return _told(output, f"{kind} of {snapshot.size}, height {height}", snapshot)


def _contours(scene: _Scene, output: Path) -> str:
    snapshot, shown = scene.snapshot, scene.relief.shown
    if not snapshot.is_plane:
        raise UserError(f"{snapshot.name}: a line has no contour lines; export it as .vts")
    lines = _lines(scene)
    if lines is None:
        gaps = f" ({snapshot.gaps()})" if snapshot.gaps() else ""
        raise UserError(
            f"{snapshot.name}: no contour lines, {snapshot.column} is from {shown.low:g} to "
            f"{shown.high:g}{gaps}"
        )
    return _write_lines(scene, lines, output)


def _lines(scene: _Scene) -> vtkPolyData | None:
    """The contour lines, or None where there is no level or too few points side by side."""
    from lossgrid.view import vtkfiles

    lines = vtkfiles.contours(scene.snapshot, scene.relief)
    return lines if lines.GetNumberOfLines() else None


def _write_lines(scene: _Scene, lines: vtkPolyData, output: Path) -> str:
    from lossgrid.view import vtkfiles

    vtkfiles.write(lines, output)
    levels = ", ".join(f"{level:g}" for level in scene.relief.levels)
    return _told(output, f"contour lines of {scene.snapshot.column} at {levels}", scene.snapshot)


def _image(snapshot: Snapshot, output: Path) -> str:
    from lossgrid.view import vtkfiles

    vtkfiles.write(vtkfiles.image(snapshot), output)
    return _told(output, f"flat image of {snapshot.size}", snapshot)


def _table(snapshot: Snapshot, output: Path) -> str:
    """One row a point; numbers with as many digits as give the same float64 again."""
    arrays: list[NDArray[Any]] = [snapshot.status, *snapshot.curves.values()]
    rows = [np.atleast_2d(array) for array in arrays]
    axes = ["alpha"] if snapshot.beta is None else ["alpha", "beta"]
    with whole(output) as partial, partial.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*axes, "status", *snapshot.curves])
        alpha = snapshot.alpha.tolist()
        for row, columns in enumerate(zip(*rows, strict=True)):
            beta = [] if snapshot.beta is None else [[float(snapshot.beta[row])] * len(alpha)]
            table.writerows(zip(alpha, *beta, *(c.tolist() for c in columns), strict=True))
    return _told(output, f"table of {snapshot.size}", snapshot)


def _netcdf(snapshot: Snapshot, output: Path) -> str:
    from lossgrid.view import labelled

    labelled.write(labelled.dataset(snapshot), output)
    return _told(output, f"netCDF of {snapshot.size}", snapshot)


def _reference(snapshot: Snapshot, output: Path) -> str:
    from lossgrid import reference

    with whole(output) as partial:
        pending = snapshot.status == PENDING
        held = reference.Surface(snapshot.alpha, snapshot.beta, snapshot.curves, pending)
        reference.write(partial, held)
    return _told(output, f"surface file of {snapshot.size} for the reference code", snapshot)


def _landscaper(snapshot: Snapshot, output: Path) -> str:
    """For Landscaper's `LossLandscape.load_from_npz`, which takes a row an axis."""
    alpha, beta = snapshot.alpha, snapshot.beta
    if beta is None or alpha.size != beta.size:
        raise UserError(
            f"{output}: Landscaper's .npz holds planes of as many rows as columns, not "
            f"{snapshot.size}; export .nc or .csv"
        )
    with whole(output) as partial, partial.open("wb") as file:
        np.savez(file, loss=snapshot.values, coordinates=np.stack([alpha, beta]))
    return _told(output, f"{snapshot.column} of {snapshot.size} for Landscaper", snapshot)


def _series(results: Sequence[Landscape], output: Path, look: Look) -> str:
    """Surfaces over time, in the given order, all on the scale that suits all of their values."""
    for one in results:
        if is_plane(one) != is_plane(results[0]):
            raise UserError(
                f"{one.name} and {results[0].name}: a line and a plane are no series; "
                "export planes with planes"
            )
    column = choose_column(results[0], look.column)
    shown = [Snapshot.of(one, choose_column(one, column), [column], stored=True) for one in results]
    for snapshot in shown:
        snapshot.check_drawable()
    together = np.concatenate([snapshot.values.ravel() for snapshot in shown])
    width = max(snapshot.width for snapshot in shown)
    relief = Relief.of(together, width, look, shown[0].is_fraction)
    root = ElementTree.Element("VTKFile", type="Collection", version="0.1")
    collection = ElementTree.SubElement(root, "Collection")
    told = []
    for number, one in enumerate(results):
        part = output.with_name(f"{output.stem}-{number:03}.vts")
        told.append(_surface(_Scene(_all_columns(one, column), relief), part))
        ElementTree.SubElement(collection, "DataSet", timestep=str(number), file=part.name)
    ElementTree.indent(root)
    with whole(output) as partial:
        ElementTree.ElementTree(root).write(partial, encoding="utf-8", xml_declaration=True)
    return "\n".join([f"{output}: series of {len(results)} surfaces on one scale", *told])


def _told(output: Path, what: str, snapshot: Snapshot) -> str:
    gaps = snapshot.gaps()
    return f"{output}: {what}" + (f"\n{snapshot.name}: {gaps}" if gaps else "")


_SHAPED: dict[str, Callable[[_Scene, Path], str]] = {".vts": _surface, ".vtp": _contours}
_PLAIN: dict[str, Callable[[Snapshot, Path], str]] = {
    ".vti": _image,
    ".csv": _table,
    ".nc": _netcdf,
    ".h5": _reference,
    ".npz": _landscaper,
}
_OF_ONE_COLUMN = (".npz",)

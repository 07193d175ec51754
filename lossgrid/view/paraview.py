"""A script that draws a surface in ParaView and saves the picture."""

from __future__ import annotations

import os
from pathlib import Path
from string import Template

import numpy as np

from lossgrid.view.relief import Relief
from lossgrid.view.snapshot import Snapshot, words


def script(
    snapshot: Snapshot, relief: Relief, surface: Path, lines: Path | None, output: Path
) -> str:
    """The text of a Python script for ParaView 5.11 and newer.

    Args:
        snapshot: whose surface it is.
        relief: of the surface.
        surface: the .vts file.
        lines: the .vtp file of the contour lines, if there are any.
        output: where the script will lie; it finds the files from there.
    """
    alpha, beta = snapshot.best_place
    value = float(snapshot.values.flat[snapshot.best])
    constant = relief.shown.constant
    kind = "maximum" if snapshot.is_fraction else "minimum"
    said = (
        f"constant: {value:.4g}" if constant else f"{kind} {value:.4g} at ({alpha:.4g}, {beta:.4g})"
    )
    title = words(snapshot.column)
    constants = {
        "folder": str(output.resolve().parent),
        "surface": _from(output, surface),
        "lines": _from(output, lines) if lines else None,
        "picture": output.with_suffix(".png").name,
        "column": snapshot.column,
        "title": title,
        "limits": (relief.shown.low, relief.shown.high),
        "logarithmic": relief.shown.logarithmic,
        "best": None if constant else (alpha, beta, float(relief.heights(np.array(value)))),
        "radius": 0.012 * snapshot.width,
        "note": "\n".join(filter(None, [f"{snapshot.name}: {title}", said, snapshot.gaps()])),
    }
    return _TEXT.substitute({name: repr(value) for name, value in constants.items()})


def _from(script: Path, file: Path) -> str:
    return os.path.relpath(file.resolve(), script.resolve().parent)


_TEXT = Template('''\
"""Draws a loss landscape and saves the picture: pvbatch, or ParaView's Python shell."""

import os

from paraview.simple import *

HERE = $folder
if "__file__" in globals():  # ParaView's window does not tell it
    HERE = os.path.dirname(os.path.abspath(__file__))
SURFACE = $surface
LINES = $lines  # contour lines, or None
PICTURE = $picture
COLUMN = $column
TITLE = $title
LOW, HIGH = $limits
LOGARITHMIC = $logarithmic
BEST = $best  # where a marker is to be, or None
RADIUS = $radius
NOTE = $note

BLACK, WHITE = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]

view = CreateRenderView()
view.ViewSize = [1600, 1200]
view.UseColorPaletteForBackground = 0
view.Background = WHITE
view.OrientationAxesVisibility = 0

surface = XMLStructuredGridReader(FileName=[os.path.join(HERE, SURFACE)])
shown = Show(surface, view)
shown.Representation = "Surface"
ColorBy(shown, ("POINTS", COLUMN))
colours = GetColorTransferFunction(COLUMN)
colours.ApplyPreset("Viridis (matplotlib)", True)
colours.AutomaticRescaleRangeMode = "Never"
if LOW < HIGH:
    colours.RescaleTransferFunction(LOW, HIGH)
if LOGARITHMIC:
    colours.MapControlPointsToLogSpace()
    colours.UseLogScale = 1

bar = GetScalarBar(colours, view)
bar.Title, bar.ComponentTitle = TITLE, ""
bar.TitleColor = bar.LabelColor = BLACK
bar.TitleFontSize = bar.LabelFontSize = 22
bar.AddRangeLabels = 0
bar.ScalarBarLength = 0.5
shown.SetScalarBarVisibility(view, True)

if LINES:
    lines = Show(XMLPolyDataReader(FileName=[os.path.join(HERE, LINES)]), view)
    lines.ColorArrayName = [None, ""]
    lines.AmbientColor = lines.DiffuseColor = WHITE
    lines.LineWidth = 3
    lines.RenderLinesAsTubes = 1

if BEST:
    marker = Show(Sphere(Center=BEST, Radius=RADIUS), view)
    marker.ColorArrayName = [None, ""]
    marker.AmbientColor = marker.DiffuseColor = [0.9, 0.1, 0.1]

note = Show(Text(Text=NOTE), view)
note.Color = BLACK
note.FontSize = 22
note.Justification = "Left"
note.WindowLocation = "Upper Left Corner"

# Heights are scaled, so the colour bar has their values, and the vertical axis has no labels.
axes = view.AxesGrid
axes.Visibility = 1
axes.XTitle, axes.YTitle, axes.ZTitle = "alpha", "beta", ""
axes.XTitleColor = axes.YTitleColor = axes.XLabelColor = axes.YLabelColor = BLACK
axes.XTitleFontSize = axes.YTitleFontSize = 24
axes.XLabelFontSize = axes.YLabelFontSize = 18
axes.GridColor = [0.5, 0.5, 0.5]
axes.ZAxisUseCustomLabels = 1
axes.ZAxisLabels = []

view.CameraFocalPoint = [0.0, 0.0, 0.0]
view.CameraPosition = [-0.8, -1.6, 2.0]
view.CameraViewUp = [0.0, 0.0, 1.0]
ResetCamera(view)
SaveScreenshot(os.path.join(HERE, PICTURE), view, ImageResolution=[1600, 1200])
''')

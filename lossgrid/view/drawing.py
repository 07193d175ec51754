"""Draws a scene with VTK, off-screen; runs in a process of its own, started by `studio`.

Where no off-screen OpenGL is found, VTK ends the process it runs in.
"""

from __future__ import annotations

import os
import pickle
import resource
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from vtkmodules import vtkRenderingOpenGL2  # noqa: F401 (without it there is nothing to draw with)
from vtkmodules.util import numpy_support
from vtkmodules.vtkCommonCore import VTK_UNSIGNED_CHAR
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals, vtkTubeFilter
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkLightKit,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from lossgrid.view import vtkfiles
from lossgrid.view.camera import VIEW_ANGLE, Camera
from lossgrid.view.scene import Scene
from lossgrid.view.studio import DRAWS_NOTHING, READY

_SUBPIXELS = 2  # along each side of a pixel
_LINE_OF_HEIGHT = 1 / 750
_SIDES = 6


def main() -> None:
    """Read a pickled scene from stdin; answer READY, then the bytes of one picture a camera.

    A picture is width x height x 4 bytes: colours multiplied by their alpha, the top row first.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    scene = pickle.load(sys.stdin.buffer)
    _check_drawing()
    answers.write(READY)
    answers.flush()
    for picture in _pictures(scene):
        answers.write(picture.tobytes())
        answers.flush()


def _check_drawing() -> None:
    """Exit unless a red window comes out red."""
    renderer = vtkRenderer()
    renderer.SetBackground(1.0, 0.0, 0.0)
    red = _photograph(_window(renderer, (8, 8), 0), 1)
    if red.getpixel((4, 4))[:3] != (255, 0, 0):  # type: ignore[index]
        sys.exit(DRAWS_NOTHING)


def _pictures(scene: Scene) -> Iterator[Image.Image]:
    renderer = vtkRenderer()
    renderer.AddActor(_surface(scene))
    lines = vtkfiles.contours(scene.surface, scene.relief)
    if lines.GetNumberOfLines():
        renderer.AddActor(_tubes(lines, scene))
    _lights().AddLightsToRenderer(renderer)
    if scene.background is not None:
        renderer.SetBackground(*(part / 255 for part in scene.background))
    renderer.SetBackgroundAlpha(0.0 if scene.background is None else 1.0)
    window = _window(renderer, scene.size, scene.multisamples)
    for camera in scene.cameras:
        _look_through(renderer, camera)
        yield _photograph(window, _SUBPIXELS).reduce(_SUBPIXELS)


def _surface(scene: Scene) -> vtkActor:
    normals = vtkPolyDataNormals()
    normals.SetInputData(vtkfiles.mesh(scene.surface, scene.relief))
    normals.SplittingOff()
    normals.ConsistencyOff()
    normals.Update()
    mesh = normals.GetOutput()
    _colour(mesh, scene.colours.reshape(-1, 3))
    actor = _shown(mesh)
    look = actor.GetProperty()
    look.SetInterpolationToPhong()
    look.SetAmbient(0.15)
    look.SetDiffuse(0.9)
    look.SetSpecular(0.12)
    look.SetSpecularPower(12.0)
    return actor


def _tubes(lines: vtkPolyData, scene: Scene) -> vtkActor:
    """Contour lines as thin tubes, which lie half in the surface from wherever they are seen."""
    tubes = vtkTubeFilter()
    tubes.SetInputData(lines)
    tubes.SetNumberOfSides(_SIDES)
    camera = scene.cameras[0]
    half_height = float(np.linalg.norm(camera.place - camera.focus)) * np.tan(
        np.radians(VIEW_ANGLE / 2)
    )
    tubes.SetRadius(half_height * _LINE_OF_HEIGHT)
    tubes.Update()
    mesh = tubes.GetOutput()
    level = numpy_support.vtk_to_numpy(  # type: ignore[no-untyped-call]
        mesh.GetPointData().GetArray(scene.surface.column)
    )
    _colour(mesh, scene.line_colours[np.searchsorted(scene.relief.levels, level)])
    actor = _shown(mesh)
    actor.GetProperty().LightingOff()
    return actor


def _colour(mesh: vtkPolyData, colours: NDArray[np.uint8]) -> None:
    """Give each point its red, green and blue, shape (n, 3)."""
    mesh.GetPointData().SetScalars(
        numpy_support.numpy_to_vtk(  # type: ignore[no-untyped-call]
            colours, deep=True, array_type=VTK_UNSIGNED_CHAR
        )
    )


def _shown(mesh: vtkPolyData) -> vtkActor:
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(mesh)
    mapper.SetColorModeToDirectScalars()
    actor = vtkActor()
    actor.SetMapper(mapper)
    return actor


def _lights() -> vtkLightKit:
    """Three lights that keep their places beside the camera."""
    lights = vtkLightKit()
    lights.SetKeyLightIntensity(0.9)
    lights.SetKeyLightAngle(45.0, -45.0)
    lights.SetKeyToFillRatio(4.0)
    lights.SetKeyToHeadRatio(6.0)
    return lights


def _window(renderer: vtkRenderer, size: tuple[int, int], multisamples: int) -> vtkRenderWindow:
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(*size)
    window.SetMultiSamples(multisamples)
    window.SetAlphaBitPlanes(1)
    window.AddRenderer(renderer)
    return window


def _look_through(renderer: vtkRenderer, camera: Camera) -> None:
    lens = renderer.GetActiveCamera()
    lens.SetViewAngle(VIEW_ANGLE)
    lens.SetPosition(*camera.place.tolist())
    lens.SetFocalPoint(*camera.focus.tolist())
    lens.SetViewUp(*camera.up.tolist())
    renderer.ResetCameraClippingRange()


def _photograph(window: vtkRenderWindow, magnification: int) -> Image.Image:
    """What the window shows, in tiles of its own size: memory is that of the picture."""
    photograph = vtkWindowToImageFilter()
    photograph.SetInput(window)
    photograph.SetInputBufferTypeToRGBA()
    photograph.ReadFrontBufferOff()
    photograph.SetScale(magnification)
    photograph.Update()
    image = photograph.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = numpy_support.vtk_to_numpy(  # type: ignore[no-untyped-call]
        image.GetPointData().GetScalars()
    )
    upright = np.ascontiguousarray(pixels.reshape(height, width, 4)[::-1])
    return Image.frombytes("RGBa", (width, height), upright.tobytes())

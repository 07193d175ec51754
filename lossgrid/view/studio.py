"""Pictures of a scene, drawn by `drawing` in a process of its own: VTK may crash or hang."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from threading import Timer
from types import TracebackType
from typing import IO

from PIL import Image

from lossgrid.errors import UserError
from lossgrid.view.scene import Scene

try:
    import vtkmodules  # noqa: F401 (the other process loads it)
except ImportError as missing:
    raise UserError(
        f"3-D pictures need the vtk library ({missing}): pip install 'lossgrid[vtk]'"
    ) from missing

READY = b"ready"

# With the very path of this process: -m would look in the working directory first, where a user's
# own file may be called as one of our libraries.
_DRAW = "import sys; sys.path[:] = sys.argv[1:]; from lossgrid.view.drawing import main; main()"
_READY_SECONDS = 120.0
_PICTURE_SECONDS = 300.0
_NO_OPENGL = (
    "no OpenGL is found that draws off-screen; install Mesa's: "
    "apt-get install libegl1 libgl1-mesa-dri (or libosmesa6) on Debian and Ubuntu, "
    "dnf install mesa-libEGL mesa-dri-drivers on Fedora"
)

_WINDOW = "VTK_DEFAULT_OPENGL_WINDOW"
# With this kind VTK takes EGL and else OSMesa, without a display; with none what it prefers, which
# is all that Macs and old versions of VTK have.
_KINDS: tuple[dict[str, str], ...] = ({_WINDOW: "vtkEGLRenderWindow"}, {})


def pictures(scene: Scene) -> Iterator[Image.Image]:
    """Draw the scene from each of its cameras, in that order; RGBA.

    Raises:
        UserError: nothing here can draw off-screen, or drawing broke off.
    """
    with tempfile.TemporaryFile() as request:
        pickle.dump(scene, request)
        for kind in ({},) if _WINDOW in os.environ else _KINDS:
            request.seek(0)
            with tempfile.TemporaryFile() as said, _Artist(request, said, kind) as artist:
                if artist.answer(len(READY), _READY_SECONDS) == READY:
                    yield from artist.pictures(scene)
                    return
    raise UserError(_NO_OPENGL)


class _Artist:
    """The other process; it is killed at the end of the `with` block."""

    def __init__(self, request: IO[bytes], said: IO[bytes], variables: dict[str, str]) -> None:
        self._said = said
        self._process = subprocess.Popen(
            [sys.executable, "-c", _DRAW, *sys.path],
            stdin=request,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=os.environ | variables,
        )

    def __enter__(self) -> _Artist:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def answer(self, count: int, seconds: float) -> bytes:
        """So many bytes of what it writes; fewer if it dies, or takes longer and is killed."""
        assert self._process.stdout is not None
        timer = Timer(seconds, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.read(count)
        finally:
            timer.cancel()

    def pictures(self, scene: Scene) -> Iterator[Image.Image]:
        """Those of all cameras."""
        width, height = scene.size
        for _ in scene.cameras:
            pixels = self.answer(4 * width * height, _PICTURE_SECONDS)
            if len(pixels) < 4 * width * height:
                raise UserError(f"drawing {width} x {height} pixels broke off: {self._last_word()}")
            yield Image.frombytes("RGBa", scene.size, pixels).convert("RGBA")

    def _last_word(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the process died ({self._process.wait()})"

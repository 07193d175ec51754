"""Pictures of a scene, drawn by `drawing` in a process of its own: VTK may crash or hang."""

from __future__ import annotations

import os
import pickle
import re
import signal
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
DRAWS_NOTHING = 70
"""Exit status where there is OpenGL, which draws nothing."""

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

_OF_OPENGL = re.compile("OpenGL|EGL|OSMesa|X server")

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
        ends: list[str | None] = []
        for kind in ({},) if _WINDOW in os.environ else _KINDS:
            request.seek(0)
            with tempfile.TemporaryFile() as said, _Artist(request, said, kind) as artist:
                if artist.answer(len(READY), _READY_SECONDS) == READY:
                    yield from artist.pictures(scene)
                    return
                ends.append(None if artist.found_no_opengl() else artist.end())
    told = next(filter(None, ends), None)
    raise UserError(f"drawing can't begin: {told}" if told else _NO_OPENGL)


class _Artist:
    """The other process; it is killed at the end of the `with` block."""

    def __init__(self, request: IO[bytes], said: IO[bytes], variables: dict[str, str]) -> None:
        self._said = said
        self._is_late = False
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
        timer = Timer(seconds, self._give_up)
        timer.start()
        try:
            answer = self._process.stdout.read(count)
            if len(answer) < count:
                self._process.wait()
            return answer
        finally:
            timer.cancel()

    def pictures(self, scene: Scene) -> Iterator[Image.Image]:
        """Those of all cameras."""
        width, height = scene.size
        for _ in scene.cameras:
            pixels = self.answer(4 * width * height, _PICTURE_SECONDS)
            if len(pixels) < 4 * width * height:
                raise UserError(f"drawing {width} x {height} pixels broke off: {self.end()}")
            yield Image.frombytes("RGBa", scene.size, pixels).convert("RGBA")

    def found_no_opengl(self) -> bool:
        """Whether OpenGL drew nothing, or VTK complained of it and crashed, as it does without."""
        status = self._process.wait()
        crashed = status in (-signal.SIGSEGV, -signal.SIGABRT)
        return status == DRAWS_NOTHING or (crashed and bool(_OF_OPENGL.search(self._words())))

    def end(self) -> str:
        """How it ended, in a few words."""
        status = self._process.wait()
        if self._is_late:
            return "it took too long"
        if status == -signal.SIGKILL:
            return "the process was killed (SIGKILL), as happens where memory is short"
        if status < 0:
            return f"the process was ended by {signal.Signals(-status).name}"
        lines = self._words().splitlines()
        return lines[-1] if lines else f"the process ended with status {status}"

    def _words(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip()

    def _give_up(self) -> None:
        self._is_late = True
        self._process.kill()

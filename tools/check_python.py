"""Say in one sentence what the machine's Python lacks for `make run`, if anything."""

import sys
from importlib.util import find_spec

if sys.version_info < (3, 10):  # noqa: UP036 (an older Python is what this line is for)
    sys.exit(
        "lossgrid needs Python 3.10 or newer, this is " + sys.version.split()[0] + ": name a newer "
        "one, for example make run PYTHON=python3.12"
    )
if find_spec("venv") is None or find_spec("ensurepip") is None:
    sys.exit(
        "This Python cannot create environments, because Debian packs that part by itself: run "
        "`apt-get install python3-venv` as root (or with sudo) once, then the same command again."
    )

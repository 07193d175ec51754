"""Build sdist and wheel, and use the wheel as a stranger would, in a fresh environment.

    .venv/bin/python tools/try_package.py [TORCH]    # see tools/install_torch.py

Everything happens in a temporary folder, from where this checkout can't be imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("cluster/job.sbatch", "view/figures/lossgrid.mplstyle", "view/browser/")
"""What a wheel forgets most easily: files that are no modules."""


def main() -> None:
    """Build, install, compute; exits with what went wrong."""
    with tempfile.TemporaryDirectory(prefix="lossgrid-package-") as folder:
        here = Path(folder)
        source = here / "source"
        shutil.copytree(
            ROOT, source, ignore=shutil.ignore_patterns(".*", "out", "build", "dist", "*.egg-info")
        )
        _run(sys.executable, "-m", "build", "--outdir", here / "dist", source)
        (wheel,) = (here / "dist").glob("*.whl")
        if not list((here / "dist").glob("*.tar.gz")):
            sys.exit("no sdist was built")
        venv.create(here / "venv", with_pip=True)
        python = here / "venv" / "bin" / "python"
        _run(python, ROOT / "tools" / "install_torch.py", *sys.argv[1:])
        _run(python, "-m", "pip", "install", "--quiet", f"{wheel}[mpi,view,digits]")
        _use(python, here)
    print("the wheel works in a fresh environment")


def _use(python: Path, here: Path) -> None:
    """What the README has a newcomer do."""
    package = next((here / "venv").glob("lib/*/site-packages/lossgrid"))
    missing = [name for name in NEEDED if not (package / name).exists()]
    if missing:
        sys.exit(f"the wheel lacks {', '.join(missing)}")
    (here / "jobs").mkdir()
    shutil.copy(ROOT / "jobs" / "digits.yaml", here / "jobs")
    command = python.with_name("lossgrid")
    small: list[str | Path] = ["--set", "grid.alpha.points=11", "--set", "grid.beta.points=11"]
    mpirun: list[str | Path] = [python.with_name("mpirun"), "-n", "2", python, "-m", "lossgrid"]
    _run(*mpirun, "run", "jobs/digits.yaml", *small, folder=here)
    _run(command, "plot", "out/digits.vtkhdf", "--output", "figure.pdf", folder=here)
    _run(command, "status", "out/digits.vtkhdf", folder=here)
    _run(python, "-c", "import lossgrid; lossgrid.open('out/digits.vtkhdf').plot()", folder=here)


def _run(*words: str | Path, folder: Path | None = None) -> None:
    clean = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, words)], check=False, cwd=folder, env=clean, timeout=1200)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))} failed, with {done.returncode}")


if __name__ == "__main__":
    main()

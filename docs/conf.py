"""How the site is built: `make docs`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from lossgrid import __version__  # noqa: E402

project = "lossgrid"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_lossgrid"]
exclude_patterns: list[str] = []

myst_enable_extensions = ["deflist", "html_image"]
myst_heading_anchors = 3
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = f"lossgrid {version}"
html_show_copyright = False
html_copy_source = False

"""The site: built by ``make docs``, strictly and without network."""

import runpy
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "whyclass"
author = PROJECT["authors"][0]["name"]
copyright = author
version = release = PROJECT["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["build", "**/.ipynb_checkpoints"]
highlight_language = "none"  # blocks without a language are commands
smartquotes_action = "q"  # quotes only: two hyphens begin an option and are no dash
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
suppress_warnings = ["myst.header"]  # pages that are read on their own may begin at any level

# tutorials are kept without outputs; what a test has not run for this very code is run here
nb_execution_mode = "cache"
nb_execution_cache_path = str(runpy.run_path(str(ROOT / "scripts" / "run_tutorials.py"))["kept"]())
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True

html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme = "pydata_sphinx_theme"
html_title = f"whyclass {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "whyclass"},
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

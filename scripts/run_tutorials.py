"""Run the notebooks of ``docs/tutorials`` and keep what they give where the site looks for it.

``python scripts/run_tutorials.py [NAME...]``. The site runs by itself what is not kept, so that this only
saves doing it twice; ``tests/test_tutorials.py`` runs all of them anew.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "tutorials"
LONGEST = 300
"""Seconds of one cell."""


def kept() -> Path:
    """Where outputs are kept: a folder for each state of the package, so that none is of other code."""
    seen = hashlib.sha256()
    for file in sorted((ROOT / "src").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            seen.update(file.relative_to(ROOT).as_posix().encode())
            seen.update(file.read_bytes())
    return ROOT / "build" / "tutorials" / seen.hexdigest()[:16]


def run(file: Path) -> NotebookNode:
    """Run a notebook in an empty folder and keep its outputs; a cell that fails raises."""
    notebook = nbformat.read(file, 4)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        # times of cells would be metadata, by which what is kept is found
        how = {"kernel_name": "python3", "timeout": LONGEST, "record_timing": False}
        NotebookClient(notebook, resources={"metadata": {"path": folder}}, **how).execute()
    bundle = CacheBundleIn(notebook, str(file), data={"execution_seconds": time.perf_counter() - began})
    get_cache(str(kept())).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return notebook


if __name__ == "__main__":
    for file in sorted(FOLDER.glob("*.ipynb")):
        if not sys.argv[1:] or file.stem in sys.argv[1:]:
            began = time.perf_counter()
            run(file)
            print(f"{file.stem}: {time.perf_counter() - began:.0f} s")

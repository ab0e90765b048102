"""The tutorials run from an empty folder to their end, and what they say of their run holds.

Each holds its own assertions, in a cell that the site leaves out.
"""

from __future__ import annotations

import importlib.util
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
MISSING = [
    name
    for name in ("nbclient", "ipykernel", "jupyter_cache", "matplotlib", "pandas")
    if not importlib.util.find_spec(name)
]


def cells(file: Path, kind: str) -> list[dict[str, Any]]:
    return [
        cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind
    ]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.parametrize("file", TUTORIALS, ids=lambda file: file.stem)
# a kernel's transport warns of itself, and a pipe of it may be closed by the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_tutorial_runs(file, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ran = runpy.run_path(str(ROOT / "scripts" / "run_tutorials.py"))["run"](file)
    shown = [cell for cell in ran.cells if cell.cell_type == "code" and cell.outputs]
    assert len(shown) >= 6
    said = [output for cell in shown for output in cell.outputs if output.get("name") == "stderr"]
    assert said == []


@pytest.mark.parametrize("file", TUTORIALS, ids=lambda file: file.stem)
def test_a_tutorial_is_kept_without_outputs_and_checks_what_it_says(file):
    code = cells(file, "code")
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
    hidden = ["".join(cell["source"]) for cell in code if "remove-cell" in cell["metadata"].get("tags", ())]
    assert sum(text.count("assert ") for text in hidden) >= 2
    assert "assert " not in "".join("".join(cell["source"]) for cell in code if cell["metadata"] == {})


def test_the_four_tutorials_are_there():
    assert [file.stem for file in TUTORIALS] == ["audit", "is-it-right", "own-model", "shortcut"]

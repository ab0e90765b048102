"""Records in a real notebook: evaluated in cells of one Jupyter kernel, as a reader would."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from helpers.planted_world import QUICK
from whyclass.planted import world

with warnings.catch_warnings():
    # warnings of Jupyter's own modules while they load; ours load in the kernel, where ours are errors
    warnings.simplefilter("ignore")
    import nbformat
    from nbclient import NotebookClient

pytestmark = pytest.mark.slow

SET_UP = f"""
import warnings
warnings.filterwarnings("error", module="whyclass")
import torch
torch.set_num_threads(1)
import whyclass
from whyclass.planted import demo
settings = whyclass.Settings(**{QUICK!r})
study = whyclass.Study(demo.loaded(), {world.LAYER!r}, "pool", "store", settings, progress=False)
"""

CELLS = {
    "study": "study",
    "classes": "study.classes()",
    "explanation": "hawk = study.explain('hawk'); hawk",
    "contrast": "study.contrast('hawk', 'owl')",
    "pairs": "study.pairs(['hawk', 'owl'])",
    "audit": "study.audit(['hawk', 'owl'])",
    "choice": "whyclass.choose_layer("
    "demo.loaded(), 'pool', 'store', settings, layers=['stage3', 'stage4'], classes=2, progress=False)",
    "finding": "from pathlib import Path\nfrom whyclass.records import Finding\n"
    "Finding.load(next(Path('store').rglob('findings/*.whyclass')))",
    "concept": "hawk.concepts[0]",
    "many": "[hawk] * 3",
}
"""What is evaluated, by name."""

PAGES = ("explanation", "contrast", "pairs", "audit", "choice", "finding")


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """What each cell shows, by kind of output; every cell runs once, in one kernel."""
    folder: Path = tmp_path_factory.mktemp("notebook")
    world.write_pool(folder / "pool", 4)
    cells = [nbformat.v4.new_code_cell(code) for code in (SET_UP, *CELLS.values())]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with warnings.catch_warnings():
        # what Jupyter's client warns of in this process; nothing of ours runs in it here
        warnings.simplefilter("ignore")
        NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    outputs = [cell.outputs for cell in notebook.cells[1:]]
    return {name: _result(found) for name, found in zip(CELLS, outputs, strict=True)}


def _result(outputs: list[Any]) -> dict[str, Any]:
    (found,) = outputs  # nothing else: no error, no warning on standard error, no print
    assert found.output_type == "execute_result", found
    return dict(found.data)


@pytest.mark.parametrize("name", PAGES)
def test_a_record_is_shown_as_html_and_as_a_line(shown, name):
    assert shown[name]["text/html"].startswith(("<div", "<code"))
    assert "<script" not in shown[name]["text/html"]
    assert len(shown[name]["text/plain"]) < 300
    assert "\n" not in shown[name]["text/plain"]


def test_each_says_what_it_is(shown):
    assert "Why “hawk”?" in shown["explanation"]["text/html"]
    assert "Table 1." in shown["audit"]["text/html"]
    assert "2 pairs" in shown["pairs"]["text/html"]
    assert "<svg" in shown["choice"]["text/html"]
    assert shown["study"]["text/plain"].startswith("<Study of 'planted'")
    assert "PoolClass(index=0, name=" in shown["classes"]["text/plain"]
    assert shown["concept"]["text/plain"].startswith("Concept(vector=<float32 64>, share=0.")
    assert shown["many"]["text/plain"].count("<Explanation of 'hawk' (planted, stage3): 6 concepts") == 3

"""The page on growth holds what its script computes, and the simulation runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import scale_paper

    return scale_paper


def test_the_tables_of_work_are_those_that_the_script_computes(paper):
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    for images, classes in paper.CASES:
        assert "\n".join(paper.work_table(images, classes)) in page
    net, (passed, kept) = paper.resnet50(), paper.tested()
    assert f"an image takes {net.whole / 1e9:.2f} GFLOP" in page
    assert f"are {passed:.0f} test images" in page
    assert f"its records {kept / 1e3:.0f} KB" in page
    assert f"{paper.directions(paper.Settings())} directions" in page


def test_twice_the_images_are_twice_the_search_and_no_more_attribution(paper):
    few, many = (list(paper.stages(n, 1000, paper.Settings(), paper.resnet50())) for n in (10**5, 2 * 10**5))
    ratios = {a.name: b.operations / a.operations for a, b in zip(few, many, strict=True) if a.operations}
    assert ratios["search for crops"] == 2
    assert ratios["attribution, layers together"] == 1


def test_a_small_pool_is_simulated(tmp_path):
    asked = ["simulate", "--images", "900", "--classes", "1", "--folder", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, ROOT / "benchmarks/scale.py", *asked], check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "scale-900.json").read_text())
    assert found["pass over the pool"]["MB on disk"] > 900 * 36 * 64 * 2 / 1e6
    assert found["audit once more"]["processor seconds"] < found["audit"]["processor seconds"]

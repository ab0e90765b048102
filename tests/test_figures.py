"""The figures of the documents are what their script draws, and small."""

from __future__ import annotations

import importlib.util
import io
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers.planted_world import QUICK

if importlib.util.find_spec("matplotlib") is None:
    pytest.skip("matplotlib, of the extra plot, is not installed", allow_module_level=True)

ROOT = Path(__file__).parent.parent
DRAWN = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "draw_figures.py"), run_name="drawn"))
MOST = 500_000
"""Bytes of all figures together."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    few = QUICK | {"plane_starts": 0, "plane_bootstraps": 0, "plane_permutations": 0, "null_crops": 19}
    return DRAWN.found(tmp_path_factory.mktemp("figures"), 8, **few)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("name", list(DRAWN.FIGURES))
def test_the_same_records_give_the_same_bytes(given, tmp_path, name):
    (first,) = DRAWN.draw(given, tmp_path / "a", [name])
    (second,) = DRAWN.draw(given, tmp_path / "b", [name])
    assert first.read_bytes() == second.read_bytes()
    assert len(np.unique(pixels(first.read_bytes()).reshape(-1, 3), axis=0)) > 20  # something is drawn


def test_other_records_give_another_figure(given, tmp_path):
    other = type(given)(given.photos, given.explanation, given.contrast, given.arrays)
    turned = type(given.arrays)(
        given.arrays.paths[::-1],
        given.arrays.scores[::-1],
        *(getattr(given.arrays, n) for n in ("vectors", "shares", "embeddings")),
    )
    other = type(given)(given.photos, given.explanation, given.contrast, turned)
    drawn = [
        DRAWN.draw(one, tmp_path / str(n), ["attribution"])[0].read_bytes()
        for n, one in enumerate((given, other))
    ]
    assert drawn[0] != drawn[1]


def test_every_figure_is_kept_named_and_small():
    kept = sorted((ROOT / "docs" / "figures").glob("*.png"))
    named = set(re.findall(r"\(figures/([\w-]+)\.png\)", (ROOT / "docs" / "how-it-works.md").read_text()))
    assert named == {file.stem for file in kept} == set(DRAWN.FIGURES)
    assert sum(file.stat().st_size for file in kept) < MOST

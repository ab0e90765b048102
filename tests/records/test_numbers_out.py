"""What records give to other programs: arrays, tables of pandas, figures of matplotlib, files of crops."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from helpers import contrasts, explanations, image_explanations, layer_choices, model_comparisons
from whyclass.errors import RecordError
from whyclass.records import Record
from whyclass.report import crop_files, figures, frames

pandas = pytest.importorskip("pandas", reason="the extra pandas is not installed")
matplotlib = pytest.importorskip("matplotlib", reason="the extra plot is not installed")

MADE: dict[str, Record] = {
    "Explanation": explanations.explanation(),
    "Explanation, hostile": explanations.explanation("hostile"),
    "Contrast": contrasts.contrast(),
    "Contrast, hostile": contrasts.contrast("hostile"),
    **{f"Image, {case}": image_explanations.image_explanation(case) for case in image_explanations.CASES},
    **{f"Spurious, {case}": image_explanations.spurious(case) for case in ("passed", "bare", "hostile")},
    **{f"Comparison, {case}": model_comparisons.comparison(case) for case in model_comparisons.CASES},
    "LayerChoice": layer_choices.choice([layer_choices.candidate("a", 60, 0.8)], 0),
}
WITHOUT = image_explanations.basis()


def test_arrays_are_what_concepts_hold():
    one = explanations.explanation()
    assert one.vectors.shape == (6, 16)
    assert one.heat_maps.shape == (6, 6, 7, 7)
    assert (one.vectors[2] == one.concepts[2].vector).all()
    assert (one.heat_maps[1, 3] == one.concepts[1].heat_maps[3].values).all()
    assert one.shares.sum() == pytest.approx(1)
    side = image_explanations.image_explanation().target
    assert side.heat_maps.shape == side.contributions.shape == (6, 7, 7)
    assert side.contributions.sum((1, 2)) == pytest.approx([c.contribution for c in side.concepts], abs=1e-5)
    assert side.amounts.tolist() == [c.amount for c in side.concepts]
    assert contrasts.contrast().a.vectors.ndim == 2


@pytest.mark.parametrize("name", [name for name, one in MADE.items() if type(one) in frames.ROWS])
def test_a_table_has_a_row_for_each(name):
    found = MADE[name]
    table = found.to_frame()
    if not len(table):
        assert name in ("Spurious, bare", "Comparison, apart")
        return
    assert table.columns.is_unique
    if name == "Explanation":
        assert table["share"].tolist() == [concept.share for concept in found.concepts]
        assert table["cosine"].tolist() == [concept.including[0].cosine for concept in found.concepts]
    if name == "Image, mistaken":
        assert len(table) == 12
        assert table["contribution"].tolist()[:6] == [3.1, -0.4, 2.0, 0.0, 0.7, 0.2]
        assert table["removed_fall"].isna().sum() == 7
    if name == "Contrast":
        assert set(table["against"]) == {found.a.explanation.target.name, found.b.explanation.target.name}


@pytest.mark.parametrize("name", [name for name, one in MADE.items() if type(one) in figures.FIGURES])
def test_a_figure_is_drawn_and_saved_as_vectors(name):
    made = MADE[name].plot()
    assert isinstance(made, matplotlib.figure.Figure)
    out = io.BytesIO()
    made.savefig(out, format="svg")
    drawn = out.getvalue()
    assert drawn.startswith(b"<?xml")
    assert len(made.axes) >= 1
    assert b"<script>" not in drawn


def test_bars_of_both_classes_have_one_scale():
    found = image_explanations.image_explanation()
    limits = {axes.get_ylim() for axes in found.plot().axes if axes.patches and axes.get_xlim() == (-1, 1)}
    assert limits == {(-3.1, 3.1)}


@pytest.mark.parametrize("name", [name for name, one in MADE.items() if type(one) in crop_files.FILES])
def test_crops_are_saved_as_they_are(name, tmp_path):
    saved = MADE[name].save_crops(tmp_path)
    assert len(saved) == len(set(saved))
    assert all(path.is_relative_to(tmp_path) and path.is_file() for path in saved)
    if name == "Explanation":
        first = tmp_path / "0-French-horn" / "concept-1" / "including-01-0.93.png"
        assert first in saved
        assert first.read_bytes() == MADE[name].concepts[0].including[0].picture.data
        with Image.open(first) as crop:
            assert crop.size == (74, 74)
        assert len(saved) == 6 * 16


def test_what_a_record_has_not_is_said():
    for ask, said in ((WITHOUT.to_frame, "no table"), (WITHOUT.plot, "no figure")):
        with pytest.raises(RecordError, match=f"there is {said} of a ConceptBasis"):
            ask()
    with pytest.raises(RecordError, match="holds no crops"):
        MADE["LayerChoice"].save_crops("anywhere")
    with pytest.raises(RecordError, match="no shifting or masking test"):
        contrasts.contrast("bare").plot()


@pytest.mark.parametrize(("module", "extra"), [("pandas", "pandas"), ("matplotlib.figure", "plot")])
def test_a_missing_extra_is_named(monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RecordError, match=rf"pip install 'whyclass\[{extra}\]'"):
        MADE["Explanation"].to_frame() if extra == "pandas" else MADE["Explanation"].plot()


def test_heat_maps_beyond_the_largest_are_drawn_as_the_largest():
    side = image_explanations.image_explanation()
    assert np.isfinite(side.target.heat_maps).all()

"""Methods on equal terms, on the planted world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.chromium import MISSING, chromium, faults, opened
from helpers.planted_world import quick
from whyclass import ClassError, DataError, SettingsError, Study
from whyclass.planted import demo, world
from whyclass.planted.comparison import recalled
from whyclass.records import Comparison, MethodResult
from whyclass.report import comparison_measures, comparison_text, json_objects, page, summary, table_files
from whyclass.settings import COMPARED_METHODS, NAMED_METHODS
from whyclass.study import compare

SETTINGS = quick(
    images=12, copies=2, examples=8, crops=8, null_crops=9, null_cells=3, null_scores=2, fillings=4, refits=1
)
NAMES = ["snail", "hawk", "bee"]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("pool"), 12, 0)


def study(pool, store, **changes) -> Study:
    return Study(demo.loaded(), world.LAYER, pool, store, replace(SETTINGS, **changes), progress=False)


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A user's matrix: 40 directions, of which some are what the layer holds."""
    path = tmp_path_factory.mktemp("own") / "mine.npz"
    np.savez(path, np.random.default_rng(0).standard_normal((40, 64)))
    return path


@pytest.fixture(scope="module")
def asked(pool, tmp_path_factory) -> Study:
    return study(pool, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def found(asked, mine) -> Comparison:
    pytest.importorskip("skimage", reason="scikit-image is not installed (extra compare)")
    return asked.compare(NAMES, [*COMPARED_METHODS, *NAMED_METHODS, f"file:{mine}"])


def of(found: Comparison, method: str, name: str = "snail") -> MethodResult:
    one = next(one for one in found.classes if one.target.name == name)
    return next(result for result in one.results if result.method == method)


def test_every_method_has_every_measure_of_every_class(found):
    assert len(found.methods) == 10
    for one in found.classes:
        assert [result.method for result in one.results] == list(found.methods)
        for result in one.results:
            assert not result.problem
            assert len(result.concepts) == 6
            names = {measure.name for measure in comparison_measures.MEASURES}
            # stage4 stands between this layer and the linear one
            assert set(comparison_measures.numbers_of(result)) == names - {"surf_mae", "surf_emd"}
            assert all(np.isfinite(list(result.measures.values())))


def test_what_says_one_thing_several_times_is_told(found):
    """Centres of scored cells lie nearer to each other than factors, and principal axes nowhere near."""
    for name in NAMES:
        numbers = {
            method: comparison_measures.numbers_of(of(found, method, name)) for method in found.methods
        }
        nearest = {method: own["redundancy"] for method, own in numbers.items()}
        assert nearest["kmeans-scored"] > nearest["whyclass"] > nearest["pca"] == pytest.approx(0, abs=1e-6)
        for method, own in numbers.items():
            spots = [concept.shown.excluding.spots[0] for concept in of(found, method, name).concepts]
            assert own["different_crops"] == len({(spot.image.path, spot.box) for spot in spots}) / len(spots)


def test_one_concept_is_not_compared_with_others(found):
    one = of(found, "pca")
    numbers = comparison_measures.numbers_of(replace(one, concepts=one.concepts[:1]))
    assert "redundancy" not in numbers


def test_our_own_row_is_the_explanation(asked, found):
    explained, row = asked.explain("snail"), of(found, "whyclass")
    tests, theirs = explained.prediction_test, row.prediction_test
    for kind in ("including", "excluding"):
        own, other = getattr(tests, kind), getattr(theirs, kind)
        assert (own.score, own.predicted, own.control) == (other.score, other.predicted, other.control)
    assert tests.excluding.nulls == theirs.excluding.nulls
    assert tests.excluding.backing == theirs.excluding.backing
    for concept, compared in zip(explained.concepts, row.concepts, strict=True):
        assert (concept.vector == compared.shown.vector).all()
        assert concept.contribution == compared.contribution
        assert concept.stability == compared.stability
        assert [crop.box for crop in concept.including] == [
            spot.box for spot in compared.shown.including.spots
        ]
    assert explained.refits == row.refits


def test_all_methods_are_compared_with_the_same_nulls(found):
    by_kind = {
        method: {null.kind: (null.n, null.mean) for null in of(found, method).prediction_test.excluding.nulls}
        for method in found.methods
    }
    for method in found.methods:
        assert by_kind[method]["random cells"] == by_kind["whyclass"]["random cells"]
        assert by_kind[method]["shuffled scores"] == by_kind["whyclass"]["shuffled scores"]


def test_bare_deletion_calls_nonsense_best_and_does_not_decide(found):
    real = ("whyclass", "ice", "ace", "kmeans")
    lowest = [
        of(found, "permuted", name).measures["deletion"]
        <= min(of(found, method, name).measures["deletion"] for method in real)
        for name in NAMES
    ]
    assert sum(lowest) >= 2  # low is called good
    rest = {
        method: means["deletion_beside_rest"].value
        for method, means in comparison_measures.means(found).items()
    }
    assert rest["permuted"] > max(rest[method] for method in real)
    assert not {"deletion", "deletion_beside_rest"} & set(comparison_measures.best(found))
    assert comparison_text.DECIDES_NOTHING in comparison_text.notes(found)


def test_a_frame_has_a_row_for_each_class_and_method(found):
    pytest.importorskip("pandas", reason="the extra pandas is not installed")
    table = found.to_frame().set_index(["class_name", "method"])
    assert len(table) == len(NAMES) * len(found.methods)
    told = table.loc[("snail", "ice")]
    assert told["stability"] == of(found, "ice").measures["stability"]
    assert (table["concepts"] == 6).all()


def test_controls_come_out_low(found):
    means = comparison_measures.means(found)
    for name in ("test_excluding", "backing", "stability", "carried", "carried_everywhere", "insertion"):
        assert means["permuted"][name].value < means["whyclass"][name].value
    assert abs(means["permuted"]["carried"].value) < 0.3
    assert means["ice"]["carried"].value > 0.7


def test_parts_are_found_by_concepts_and_not_by_nonsense(asked, found):
    truth = {item.path: world.pool_picture(item.path, 0).masks for item in asked.pool.items}
    judged = recalled(found, truth)
    share = {
        method: sum(one.found for one in judged if one.method == method)
        / sum(one.planted for one in judged if one.method == method)
        for method in found.methods
    }
    assert share["whyclass"] > 0.5
    assert share["permuted"] < share["whyclass"]


def test_what_is_in_the_store_is_not_made_again(asked, found, monkeypatch, mine):
    monkeypatch.setattr(compare, "make", lambda own, todo: pytest.fail(f"made again: {todo}"))
    assert asked.compare(NAMES, found.methods) == found
    some = asked.compare(["hawk"], ["pca", "whyclass"])
    assert [result for one in some.classes for result in one.results] == [
        of(found, "pca", "hawk"),
        of(found, "whyclass", "hawk"),
    ]


def test_a_result_depends_on_no_other_method(pool, tmp_path, found):
    alone = study(pool, tmp_path).compare(["bee"], ["kmeans"])
    assert of(alone, "kmeans", "bee") == of(found, "kmeans", "bee")


def test_a_changed_file_is_read_again(asked, tmp_path):
    path = tmp_path / "own.npz"
    results = []
    for seed in (1, 2):
        np.savez(path, np.random.default_rng(seed).standard_normal((8, 64)))
        results.append(of(asked.compare(["snail"], [f"file:{path}"]), f"file:{path}"))
    assert results[0] != results[1]


def test_it_is_saved_loaded_and_shown(found, tmp_path):
    assert Comparison.load(found.save(tmp_path / "x.whyclass")) == found
    html = page.page(found)
    for name in (*NAMES, "random-cells", "C-deletion"):
        assert name in html
    assert "whyclass" in found._repr_html_()
    assert "10 methods on 3 classes" in repr(found)
    told = dict(summary.rows(found))
    assert "second test" in told["ice"]
    shown = json_objects.as_object(found)
    assert shown["means"]["ice"]["stability"]["n"] == 3
    assert len(shown["classes"][0]["results"][0]["concepts"]) == 6


def test_a_table_has_a_row_for_each_measure_and_a_cell_for_each_method(found):
    rows = [row for group in comparison_text.of_all(found).values() for row in group]
    assert [row.measure.name for row in rows] == [
        name for name in comparison_measures.SHORT if not name.startswith("surf")
    ]
    means, best = comparison_measures.means(found), comparison_measures.best(found)
    for row in rows:
        for method, cell in zip(found.methods, row.cells, strict=True):
            mean = means[method][row.measure.name]
            assert cell.value == f"{mean.value:.2f}"
            assert cell.interval == f"{mean.low:.2f} to {mean.high:.2f}"
            assert cell.first == (method in best.get(row.measure.name, ()))
    for one in found.classes:
        told = [row for group in comparison_text.of_class(found, one).values() for row in group]
        for row in told:
            every = [comparison_measures.numbers_of(result) for result in one.results]
            numbers = [f"{own[row.measure.name]:.2f}" for own in every]
            assert [cell.value for cell in row.cells] == numbers


def test_a_method_that_found_nothing_has_empty_cells(found):
    one = found.classes[0]
    spoilt = replace(one.results[1], measures={}, concepts=(), prediction_test=None, problem="nothing speaks")
    told = comparison_text.of_class(found, replace(one, results=(one.results[0], spoilt)))
    assert all(row.cells[0].value and not row.cells[1].value for rows in told.values() for row in rows)


def test_another_method_is_told_first_where_it_wins(found):
    sentence = comparison_text.sentence(found)
    assert sentence.startswith("By the mean of three classes, ")
    winners = {methods for methods in comparison_measures.best(found).values() if len(methods) == 1}
    if ("whyclass",) in winners and len(winners) > 1:
        assert sentence.index("is first") < sentence.index("whyclass is first")


def test_numbers_are_written_as_tables(found, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import io

    columns = comparison_measures.columns(found)
    assert len(columns["method"]) == 30
    table = parquet.read_table(io.BytesIO(table_files.table_file(columns, ".parquet"))).to_pydict()
    assert table["stability"] == columns["stability"]
    lines = table_files.table_file(columns, ".csv").decode().splitlines()
    assert len(lines) == 31
    with pytest.raises(SettingsError, match="xlsx"):
        table_files.table_file(columns, ".xlsx")


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason="not here: " + ", ".join(MISSING))
def test_the_page_in_a_browser_has_no_fault_and_breaks_no_number(found, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page.page(found), encoding="utf-8")
    with chromium() as browser:
        for width in (1280, 390):
            with opened(browser, viewport={"width": width, "height": 900}) as shown:
                shown.goto(f"file://{file}")
                assert faults(shown) == []
                assert shown.evaluate("document.documentElement.scrollWidth") <= width
                lines = shown.eval_on_selector_all(
                    "#measures tbody td", "cells => cells.map(cell => cell.innerText.split('\\n'))"
                )
                assert len(lines) == len(found.methods) * len(comparison_text.SHORT[:-2])
                assert all(len(one) == 2 and " to " in one[1] for one in lines)
                # a value and its interval stand on a line each, none of them broken
                assert shown.eval_on_selector_all(
                    "#measures tbody td", "cells => cells.every(cell => cell.offsetHeight < 60)"
                )


def test_names_are_shown_as_text_alone(found):
    evil = "<script>alert(1)</script>"
    one = found.classes[0]
    results = tuple(replace(result, problem=evil, concepts=()) for result in one.results)
    spoilt = replace(one, target=replace(one.target, name=evil), results=results)
    html = page.page(replace(found, classes=(spoilt,), methods=(*found.methods[:-1], evil), warnings=(evil,)))
    assert "<script" not in html


@pytest.mark.parametrize(
    ("classes", "methods", "error", "said"),
    [
        (["snail"], ["craft", "nmf"], SettingsError, "no method 'nmf'; choose of whyclass, ice"),
        (["snail"], ["pca", "pca"], SettingsError, "each once"),
        (["snail"], [], SettingsError, "methods are none"),
        (["snail", "snail"], ["pca"], ClassError, "each once"),
        ([], ["pca"], ClassError, "one or more"),
        (["unicorn"], ["pca"], ClassError, "unicorn"),
        (["snail"], ["file:no.npz"], DataError, "no such file"),
    ],
)
def test_what_cannot_be_compared_is_refused(asked, classes, methods, error, said):
    with pytest.raises(error, match=said):
        asked.compare(classes, methods)


def test_a_class_without_images_is_refused(tmp_path):
    folder = world.write_pool(tmp_path / "pool", 3, 0)
    for file in (folder / "snail").iterdir():
        file.unlink()
    with pytest.raises(ClassError, match=r"snail.*predicted for none"):
        study(folder, tmp_path / "store").compare(["snail"], ["pca"])


def test_more_directions_than_cells_are_told_as_a_problem(pool, tmp_path):
    (one,) = study(pool, tmp_path, images=1, concepts=200, refits=0).compare(["snail"], ["ice"]).classes
    assert "200 directions are asked for and the 1 images have 144 cells" in one.results[0].problem
    assert not one.results[0].concepts


def test_before_pooling_and_a_linear_layer_there_is_a_surrogate(pool, tmp_path):
    asked = Study(demo.loaded(), "stage4", pool, tmp_path, quick(images=6), progress=False)
    found = asked.compare(["snail"], ["pca", "permuted"])
    assert 0 < of(found, "pca").measures["surf_mae"] < of(found, "permuted").measures["surf_mae"]
    assert of(found, "pca").measures["surf_emd"] < of(found, "permuted").measures["surf_emd"]

"""An audit with nulls: few of each class, compared over all of them; levels, q-values, files."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from helpers.planted_world import contents
from whyclass import Settings, Study
from whyclass.cli import gate
from whyclass.planted import demo, world
from whyclass.records import Finding, Null
from whyclass.report import audited_nulls, audits_in_store, json_objects, paper_tables, site, table_formats
from whyclass.report.standings import JUDGED, standing
from whyclass.store import find_store

SETTINGS = Settings(
    precision="float32", images=12, copies=3, starts=1, crops=4, controls=0, null_crops=49, refits=1, seed=3
)


def study(pool, store, **changes) -> Study:
    return Study(demo.loaded(), world.LAYER, pool, store, replace(SETTINGS, **changes), progress=False)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("pool"), 12, 0)


@pytest.fixture(scope="module")
def audited(pool, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return study(pool, store).audit(), store


def decisive(one):
    return one.excluding or one.including


def test_each_class_has_its_nulls_and_they_are_compared_over_all(audited):
    found, store = audited
    classes = len(found.classes)
    for one in found.classes:
        nulls = {null.kind: null for null in decisive(one).nulls}
        assert set(nulls) == {"random crops", "random cells", "shuffled scores"}
        assert (nulls["random crops"].n, nulls["random crops"].reached) == (49, ())
        for kind in ("random cells", "shuffled scores"):
            assert len(nulls[kind].reached) == 3
            assert nulls[kind].n == 3 * classes
            assert nulls[kind].p <= nulls[kind].q <= 1
        assert len(one.needed) == 6
        assert one.refits.n == 2
    (kept,) = [f for f in map(Finding.load, find_store(store).records("findings")) if f.target.name == "hawk"]
    assert all(null.q is None for null in kept.prediction_test.excluding.nulls)  # of this class alone
    assert kept.concepts[0].contribution.n == 9


def test_planted_classes_beat_most_nulls(audited):
    p = [null.p for one in audited[0].classes for null in decisive(one).nulls if null.kind != "random crops"]
    assert np.mean(np.array(p) <= 0.1) >= 0.7


def test_a_finding_is_judged_as_the_class_of_the_audit_is(audited):
    found, store = audited
    files = dict(site.files(find_store(store), [found]))
    index = files["stage3/index.html"].decode()
    for one in found.classes:
        page = files[f"stage3/{site.page_name(one)}"].decode()
        assert "Random cells: <strong" in page
        assert "among 27 of all classes" in page
        assert JUDGED[standing(one)] in page
        assert JUDGED[standing(one)] in index
    assert "supported by the tests" in index
    assert "Passes" not in index


def test_tables_and_files_hold_p_and_q(audited):
    found = audited[0]
    rows = list(csv.DictReader(io.StringIO(table_formats.per_class([found], ".csv").decode())))
    first = found.classes[0]
    null = next(null for null in decisive(first).nulls if null.kind == "shuffled scores")
    assert float(rows[0]["shuffled_scores_p"]) == pytest.approx(null.p)
    assert float(rows[0]["shuffled_scores_q"]) == pytest.approx(null.q)
    assert rows[0]["result"] == standing(first)
    assert int(rows[0]["concepts_needed"]) == sum(first.needed)
    told = json_objects.of_audit(found)["classes"][0]
    assert told["result"] == standing(first)
    assert told["excluding"]["nulls"][1]["q"] is not None
    (table,) = [one for one in paper_tables.made([found]) if one.title == "Verdicts"]
    shares = [table.rows[0].values[JUDGED[key]].value for key in ("trust", "careful", "distrust")]
    assert sum(shares) == pytest.approx(1)
    assert "random cells: q ≤ 0.1" in table.rows[0].values


def test_a_stopped_audit_goes_on_to_the_same_bytes_in_processes_of_its_own(audited, pool, tmp_path):
    some = study(pool, tmp_path / "store")
    some.audit(classes=["hawk", "owl"])
    for file in (tmp_path / "store" / "findings").glob("*.whyclass"):
        file.unlink()
    next(iter((tmp_path / "store" / "comparisons").glob("*.whyclass"))).unlink()
    study(pool, tmp_path / "store").audit(classes=["hawk", "owl"], workers=2)
    mine, whole = contents(tmp_path / "store"), contents(audited[1])
    both = [name for name in mine if name.startswith(("findings", "comparisons", "factors"))]
    assert len(both) == 6
    assert all(mine[name] == whole[name] for name in both)


def test_without_nulls_a_class_passes_tests_and_no_more(pool, tmp_path):
    found = study(pool, tmp_path, audit_nulls=0).audit(classes=["hawk"])
    assert decisive(found.classes[0]).nulls == ()
    assert not (tmp_path / "comparisons").exists()
    files = dict(site.files(find_store(tmp_path), [found]))
    assert "Passes" in files["stage3/index.html"].decode()
    assert [one for one in paper_tables.made([found]) if one.title == "Verdicts"] == []


def test_of_one_class_there_are_too_few_nulls_for_the_highest_level(pool, tmp_path):
    found = study(pool, tmp_path).audit(classes=["hawk"])
    (one,) = found.classes
    assert next(null for null in decisive(one).nulls if null.kind == "shuffled scores").n == 3
    assert standing(one) == gate.level_of(one) == "careful"


# ---------------------------------------------------------------- numbers


def with_nulls(audit, backings, nulls):
    made = []
    for one, backing, reached in zip(audit.classes, backings, nulls, strict=False):
        null = Null("random cells", len(reached), 0.1, 0.1, max(reached), 0.5, reached=tuple(reached))
        made.append(replace(one, excluding=replace(one.excluding, backing=backing, nulls=(null,))))
    return audited_nulls.pooled(made)


def test_excesses_over_the_classes_own_nulls_are_compared(audited):
    """By a plain loop; the level that a class's own nulls reach does not matter."""
    generator = np.random.default_rng(0)
    backings, nulls = generator.normal(2, 1, 9), generator.normal(0, 1, (9, 3))
    shifted = with_nulls(audited[0], backings + np.arange(9), nulls + np.arange(9)[:, None])
    every = [row[j] - np.delete(row, j).mean() for row in nulls for j in range(3)]
    for one, backing, row in zip(shifted, backings, nulls, strict=True):
        excess = backing - row.mean()
        wanted = (1 + sum(value >= excess for value in every)) / 28
        assert one.excluding.nulls[0].p == pytest.approx(wanted)


def test_without_any_effect_p_is_small_no_more_often_than_it_says(audited):
    generator, small = np.random.default_rng(1), []
    for _ in range(200):
        scale = generator.uniform(0.5, 2)
        found = with_nulls(audited[0], generator.normal(0, scale, 9), generator.normal(0, scale, (9, 3)))
        small += [one.excluding.nulls[0].p <= 0.1 for one in found]
    assert np.mean(small) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / len(small))


def test_q_values_are_benjamini_and_hochbergs():
    p = [0.01, 0.04, 0.03, 0.005, 0.5]
    assert audited_nulls.q_values(p) == pytest.approx([0.025, 0.05, 0.05, 0.025, 0.5])
    assert audited_nulls.q_values([]) == []
    assert audited_nulls.q_values([0.9, 0.95]) == pytest.approx([0.95, 0.95])


def test_gathered_audits_are_pooled_again_from_what_is_kept(audited):
    found, store = audited
    (again,) = audits_in_store.collect(find_store(store))
    assert again == found

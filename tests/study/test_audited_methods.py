"""Rows of an audit for concepts that other methods find, on the planted world."""

from __future__ import annotations

import numpy as np
import pytest

from whyclass import SettingsError, Study
from whyclass.planted import demo, world
from whyclass.records import Audit
from whyclass.report import audits_in_store, json_objects, paper_tables, site
from whyclass.settings import CONCEPTS_BY, Settings
from whyclass.store import find_store
from whyclass.study import audited_methods, compare

SETTINGS = Settings(
    precision="float32", images=8, copies=2, starts=1, crops=4, null_crops=19, audit_nulls=1, refits=1, seed=3
)
NAMES = ["hawk", "snail", "bee"]
METHODS = ["pca", "permuted"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Study:
    pool = world.write_pool(tmp_path_factory.mktemp("pool"), 8, 0)
    return Study(demo.loaded(), world.LAYER, pool, tmp_path_factory.mktemp("store"), SETTINGS, progress=False)


@pytest.fixture(scope="module")
def own(asked) -> Audit:
    return asked.audit(NAMES)


@pytest.fixture(scope="module")
def found(asked, own) -> list[Audit]:
    return asked.audit_methods(METHODS, NAMES)


def test_each_method_is_an_audit_of_its_own(own, found):
    assert [one.settings[CONCEPTS_BY] for one in found] == METHODS
    for one in found:
        assert {**one.settings, CONCEPTS_BY: None} == {**own.settings, CONCEPTS_BY: None}
        assert [k.target for k in one.classes] == [k.target for k in own.classes]
        assert all(k.refits is not None and len(k.needed) == 6 for k in one.classes)


def test_the_audits_own_rows_stay_as_they_are(asked, own, found):
    assert asked.audit(NAMES) == own
    assert audits_in_store.gathered(asked.store)[0] == own


def test_all_are_compared_with_the_same_nothing(own, found):
    def nothing(audit: Audit):
        return [
            (null.kind, null.mean, null.reached)
            for k in audit.classes
            for null in (k.excluding or k.including).nulls
            if null.kind in ("random cells", "shuffled scores")
        ]

    assert nothing(own)
    assert all(nothing(one) == nothing(own) for one in found)


def test_concepts_are_the_methods(asked, own, found):
    pca, permuted = ({k.target.name: k.excluding.score for k in one.classes} for one in found)
    ours = {k.target.name: k.excluding.score for k in own.classes}
    (compared,) = asked.compare(["hawk"], ["pca"]).classes
    assert pca["hawk"] == compared.results[0].measures["test_excluding"]
    assert np.mean(list(permuted.values())) < np.mean(list(ours.values())) - 0.2


def test_tables_and_pages_have_a_row_for_each(own, found):
    rows = [row for row in paper_tables.table2([own, *found]).rows if row.kind == "measured"]
    assert [row.label for row in rows] == [
        own.model.name,
        *(f"{own.model.name} ({CONCEPTS_BY} {method})" for method in METHODS),
    ]
    assert len(json_objects.audits_as_object([own, *found])["audits"]) == 3


def test_pages_are_made_of_each(asked, own, found):
    store = find_store(asked.store.folder)
    files = dict(site.files(store, audits_in_store.gathered(store)))
    assert sum(name.endswith("/index.html") for name in files) == 3
    front = files["index.html"].decode()
    assert f"({CONCEPTS_BY} permuted)" in front
    assert f"{world.LAYER}, concepts by permuted</a>" in front
    assert f"{world.LAYER}-permuted/index.html" in files
    assert "concepts by" not in files[f"{world.LAYER}/index.html"].decode()


def test_what_is_in_the_store_is_not_made_again(asked, found, monkeypatch):
    monkeypatch.setattr(compare, "candidates", lambda own, todo: pytest.fail(f"made again: {todo}"))
    assert asked.audit_methods(METHODS, NAMES) == found


def test_a_class_that_nothing_speaks_for_has_a_problem(asked, own, monkeypatch):
    def fails(own, counts):
        raise audited_methods.AttributionError("nothing speaks")

    monkeypatch.setattr(audited_methods.trust, "checks_of", fails)
    (one,) = asked.audit_methods(["kmeans"], ["hawk"])
    assert [k.problem for k in one.classes] == ["nothing speaks"]
    assert paper_tables.table1([one]).rows == ()


def test_a_file_is_told_by_its_name_and_what_it_holds(asked, tmp_path):
    np.savez(tmp_path / "mine.npz", np.eye(64)[:9])
    (method,) = audited_methods.checked([f"file:{tmp_path / 'mine.npz'}"], 64)
    told = audited_methods.told_of(method)
    assert told[CONCEPTS_BY] == "file:mine.npz"
    np.savez(tmp_path / "mine.npz", np.eye(64)[:8])
    (other,) = audited_methods.checked([f"file:{tmp_path / 'mine.npz'}"], 64)
    assert audited_methods.told_of(other)["directions"] != told["directions"]


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (["whyclass", "pca"], "whyclass is the audit's own"),
        (["pca", "pca"], "each once"),
        (["nmf"], "no method 'nmf'"),
    ],
)
def test_what_no_audit_can_be_of_is_refused(asked, methods, said):
    with pytest.raises(SettingsError, match=said):
        asked.audit_methods(methods, NAMES)

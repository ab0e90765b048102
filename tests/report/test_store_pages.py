"""Pages of a store's explanations and contrasts: names that say what differs, links, an index, pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.contrasts import contrast
from helpers.explanations import HOSTILE, explanation
from helpers.parsed_pages import Parsed
from helpers.planted_world import whyclass
from whyclass import naming
from whyclass.report import store_pages
from whyclass.report.page import page
from whyclass.store import MARK, Store, find_store, key_in


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A contrast with the explanations of both of its classes, and one of another setting."""
    (tmp_path / MARK).write_text('{"format": 1, "model": "m", "weights": "w"}')
    made = find_store(tmp_path)
    found = contrast("passed")
    alone = [found.a.explanation, found.b.explanation]
    for number, one in enumerate([*alone, replace(alone[0], settings=alone[0].settings | {"copies": 7})]):
        file = made.record("explanations", f"{number:020x}")
        replace(one, model=found.model, pool=found.pool).save(file, key_in(file))
    settings = alone[0].settings
    file = made.record("contrasts", "c" * 20)
    replace(found, settings=settings).save(file, key_in(file))
    return made


def test_every_result_has_a_page_that_is_named_by_what_differs(store):
    made = dict(store_pages.files(store))
    names = sorted(Path(name).name for name in made if name.startswith("explanations/"))
    assert len(names) == 3
    assert any("copies-7" in name for name in names)
    assert all("layer" in name for name in names)
    assert store_pages.INDEX in made
    for name, data in made.items():
        parsed = Parsed(data.decode())
        assert parsed.open == []
        for link in parsed.named("a"):
            href = link["href"] or ""
            if not href.startswith("#"):
                assert (Path("/site") / Path(name).parent / href).resolve() in {
                    (Path("/site") / other).resolve() for other in made
                }, f"{name} leads to {href}"


def test_a_class_leads_to_its_contrasts_and_a_pair_stands_side_by_side(store):
    made = {name: data.decode() for name, data in store_pages.files(store)}
    beside = [name for name in made if name.startswith("beside/")]
    assert len(beside) == 1
    assert len(Parsed(made[beside[0]]).named("article")) == 12
    contrasted = next(name for name in made if name.startswith("contrasts/"))
    leading = [name for name in made if name.startswith("explanations/") and contrasted in made[name]]
    assert len(leading) == 2, "the explanations of the same settings, not that of other ones"
    assert contrasted in made[store_pages.INDEX]


def test_the_users_names_of_concepts_are_on_the_pages(store):
    found = contrast("passed").a.explanation
    naming.keep_label(store, naming.key_of_concept(found.concepts[0].vector), "a bell", "of brass <b>")
    made = {name: data.decode() for name, data in store_pages.files(store)}
    named = [name for name in made if "a bell" in made[name]]
    assert any(name.startswith("explanations/") for name in named)
    assert any(name.startswith("beside/") for name in named)
    assert not any("brass <b>" in text for text in made.values())


def test_a_name_may_be_of_anything_and_be_taken_away(store):
    vector = explanation().concepts[0].vector
    key = naming.key_of_concept(vector)
    kept = naming.keep_label(store, key, HOSTILE[:60], HOSTILE)
    assert naming.label(store, key) == kept
    assert "\x1b" not in kept.name
    naming.keep_label(store, key, " ", "")
    assert naming.label(store, key).name == ""
    assert not store.records(naming.LABELS)
    first, *others = explanation().concepts
    named = replace(explanation(), concepts=(replace(first, name=kept.name, note=kept.note), *others))
    assert not Parsed(page(named)).named("script")


def test_groups_are_kept_renewed_and_removed(store):
    naming.keep_group(store, "ears", ("a", "b", "a"))
    naming.keep_group(store, "eyes", ("c",))
    naming.keep_group(store, "ears", ("d",))
    assert [(one.name, one.concepts) for one in naming.groups(store)] == [("eyes", ("c",)), ("ears", ("d",))]
    naming.keep_group(store, "eyes", ())
    assert [one.name for one in naming.groups(store)] == ["ears"]


def test_the_command_makes_an_index_of_a_store_without_an_audit(store, tmp_path):
    ran = whyclass("report", store.folder, "--to", tmp_path / "site")
    assert ran.code == 0, ran.err
    assert (tmp_path / "site" / "index.html").read_bytes() == (
        tmp_path / "site" / store_pages.INDEX
    ).read_bytes()

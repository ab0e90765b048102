"""The site of an audit: every class, failures first, safe against hostile names, small, and complete."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from helpers.planted_world import NAMES, quick
from whyclass.errors import RecordError
from whyclass.planted import demo, world
from whyclass.records import Finding, Picture
from whyclass.report import audits_in_store, site
from whyclass.store import find_store
from whyclass.study.study import Study

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    pool = world.write_pool(place / "pool", 3)
    loaded = replace(demo.loaded(), class_names=(HOSTILE, *NAMES[1:]))
    study = Study(loaded, world.LAYER, pool, place / "store", quick(controls=20, null_crops=20))
    study.audit(tests=("prediction", "shift"))
    return place / "store"


@pytest.fixture(scope="module")
def files(store) -> dict[str, bytes]:
    opened = find_store(store)
    return dict(site.files(opened, audits_in_store.collect(opened)))


@pytest.fixture(scope="module")
def index(files) -> str:
    return files["stage3/index.html"].decode()


class Links(HTMLParser):
    """Addresses and scripts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_there_is_a_page_for_each_class_and_an_index(files):
    pages = [name for name in files if name.endswith(".html")]
    assert len(pages) == len(NAMES) + 2
    assert "index.html" in pages


def test_every_link_leads_to_a_file_of_the_site(files):
    for name, content in files.items():
        if not name.endswith(".html"):
            continue
        for link in Links(content.decode()).links:
            if link.startswith(("#", "data:,")):
                continue
            parts: list[str] = []
            for part in [*name.split("/")[:-1], *link.split("/")]:
                parts = parts[:-1] if part == ".." else [*parts, part]
            assert "/".join(parts) in files, f"{link} in {name}"


def test_every_picture_is_shown_somewhere(files):
    shown = set()
    for name, content in files.items():
        if name.endswith(".html"):
            shown |= {f"stage3/{link}" for link in Links(content.decode()).links if link.startswith("img/")}
    assert {name for name in files if "/img/" in name} == shown


def test_hostile_names_stay_text(files):
    for name, content in files.items():
        assert re.fullmatch(r"[\w.\-/]+", name)
        if name.endswith(".html"):
            found = Links(content.decode())
            assert found.handlers == []
            assert found.tags.count("script") == (1 if name == "stage3/index.html" else 0)
            assert "x" not in found.links


def test_the_policy_lets_only_the_sites_own_script_run(index):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', index).group(1)
    script = re.search(r"<script>(.*?)</script>", index, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in policy or f"script-src 'sha256-{digest}'" in policy
    assert "default-src" in policy


def test_failures_come_first(index, store):
    order = re.findall(r'data-standing="(\w+)"', index)
    rank = list(site.STANDINGS)
    assert order == sorted(order, key=rank.index)
    assert len(order) == len(NAMES)


def test_pictures_load_when_they_are_seen(index):
    pictures = re.findall(r"<img [^>]*>", index)
    assert pictures
    assert all('loading="lazy"' in picture for picture in pictures)


def test_the_index_says_how_many_pass(index, store):
    (audit,) = audits_in_store.collect(find_store(store))
    found = [Finding.load(store / "findings" / one.file) for one in audit.classes]
    passing = sum(site.standing(one) == "trust" for one in found)
    assert f"of {passing} of {len(NAMES)} classes are supported by both prediction tests" in index


def test_the_same_records_give_the_same_bytes(files, store):
    opened = find_store(store)
    assert dict(site.files(opened, audits_in_store.collect(opened))) == files


def test_a_class_that_was_not_explained_has_a_page_that_says_why(store, tmp_path):
    import shutil

    again = find_store(shutil.copytree(store, tmp_path / "store"))
    file = again.records("findings")[0]
    found = Finding.load(file)
    bare = replace(
        found, problem="nothing <b>speaks</b>", concepts=(), prediction_test=None, thumbnail=None, examples=()
    )
    bare.save(file)
    made = dict(site.files(again, audits_in_store.collect(again)))
    assert "could not be explained" in made["stage3/index.html"].decode()
    page = next(made[name] for name in made if name.startswith(f"stage3/{found.target.index}-")).decode()
    assert "nothing &lt;b&gt;speaks" in page


def test_a_picture_of_another_kind_is_refused(store, tmp_path):
    import shutil

    again = find_store(shutil.copytree(store, tmp_path / "store"))
    file = again.records("findings")[0]
    found = Finding.load(file)
    replace(found, thumbnail=Picture(b"<svg/>", 1, 1, "image/svg+xml")).save(file)
    with pytest.raises(RecordError, match="svg"):
        dict(site.files(again, audits_in_store.collect(again)))


def test_layers_have_a_folder_each(store):
    opened = find_store(store)
    (audit,) = audits_in_store.collect(opened)
    other = replace(audit, model=replace(audit.model, layer="../../etc"))
    made = dict(site.files(opened, [audit, other, audit]))
    folders = {name.split("/")[0] for name in made}
    assert folders == {"index.html", "stage3", "etc", "stage3-3"}
    assert "Other layers" in made["stage3/index.html"].decode()


def test_a_class_without_controls_stands_as_on_its_page(store):
    found = Finding.load(find_store(store).records("findings")[0])
    tests = found.prediction_test
    bare = replace(tests, including=replace(tests.including, control=None), excluding=None)
    assert site.standing(replace(found, prediction_test=bare)) == "careful"
    assert site.standing(replace(found, prediction_test=None)) == "unexplained"


def test_a_class_shows_what_moves_its_images(files, store):
    (audit,) = audits_in_store.collect(find_store(store))
    page = next(content for name, content in files.items() if name.startswith("stage3/1-")).decode()
    assert "Moved towards other classes" in page
    pairs = next(shift.pairs for shift in audit.shifts if shift.source.index == 1)
    assert page.count(" to ") >= len(pairs)


def test_every_class_is_in_a_group_by_images(store):
    (audit,) = audits_in_store.collect(find_store(store))
    many = replace(audit, classes=tuple(replace(one, n_images=100) for one in audit.classes))
    for found in (audit, many):
        assert sum(count for _, count, _ in site.by_images(found)) == len(audit.classes)


def test_histograms_count_every_score():
    assert sum(site.histogram([0.0, 0.5, 1.0, 0.999])) == 4
    assert site.histogram([1.0])[-1] == site.histogram([0.96])[-1] == 1

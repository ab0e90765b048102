"""Links of the built site and of the documents lead to files and places that are there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from test_docs_names import DOCUMENTS, ROOT

LINKS = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "check_links.py"), run_name="links"))
FENCED = re.compile(r"^[ ]*```.*?^[ ]*```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def site(tmp_path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="a/one.html#here">1</a><a href="https://elsewhere.org/x">2</a>'
        '<img src="b.png"><a href="a/">3</a>'
    )
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "a" / "index.html").write_text('<a href="../index.html">up</a><a href="#top">top</a>')
    (tmp_path / "a" / "one.html").write_text('<h1 id="here">One</h1><a href="one%2ehtml#here">me</a>')
    return tmp_path


def test_a_whole_site_has_nothing_to_tell(site):
    assert list(LINKS.broken(site)) == []


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("two.html", "there is no such file"),
        ("one.html#there", "there is no such place in it"),
        ("../../away.html", "there is no such file"),
        ("#nowhere", "there is no such place in it"),
    ],
)
def test_a_link_that_leads_nowhere_is_told(site, link, told):
    page = site / "a" / "index.html"
    page.write_text(page.read_text() + f'<a href="{link}">x</a>')
    assert list(LINKS.broken(site)) == [f"a/index.html: {link}: {told}"]


def test_a_page_that_nothing_leads_to_is_told(site):
    (site / "a" / "lost.html").write_text('<a href="../index.html">up</a>')
    assert list(LINKS.broken(site)) == ["a/lost.html: no page leads to it"]


def slugs(text: str) -> set[str]:
    """Anchors of a document's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_anchors_of_documents_are_headings(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]*#[^)\s]+)\)", FENCED.sub("", text)):
        file, _, anchor = target.partition("#")
        if file.startswith(("http:", "https:")) or (file and not file.endswith(".md")):
            continue
        there = (ROOT / document).parent / file if file else ROOT / document
        assert anchor in slugs(there.read_text(encoding="utf-8")), f"{document}: {target}"

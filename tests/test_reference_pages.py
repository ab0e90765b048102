"""The reference pages are what they would be if they were written now, and complete."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import whyclass
from whyclass.cli.options import app

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return runpy.run_path(str(ROOT / "scripts" / "write_docs.py"), run_name="written")["pages"]()


def test_they_are_up_to_date(pages):
    for name, text in pages.items():
        there = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
        assert there == text, f"{name}: run scripts/write_docs.py"


def test_every_public_name_has_its_place(pages):
    missing = [name for name in whyclass.__all__ if f":: whyclass.{name}\n" not in pages["api.md"]]
    assert missing == []


def test_every_command_and_group_is_there(pages):
    text = pages["cli.md"]
    names = [one.name or one.callback.__name__ for one in app.registered_commands]
    assert [line[12:] for line in text.splitlines() if line.startswith("## whyclass ")] == names
    assert text.count("**Model**") >= 5


def test_every_option_says_what_it_takes(pages):
    options = [line for line in pages["cli.md"].splitlines() if line.startswith("| `--")]
    assert [line for line in options if " VALUE`" in line] == []


def test_every_page_of_the_site_can_be_reached():
    files = [path for kind in ("md", "ipynb") for path in ROOT.glob(f"docs/**/*.{kind}")]
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in files}
    tree = "\n".join(path.read_text() for path in ROOT.glob("docs/**/*.md"))
    named = {line.strip().removeprefix("../") for line in tree.splitlines()}
    lost = {page for page in pages - {"index"} if not {page, page.split("/")[-1]} & named}
    assert lost == set()

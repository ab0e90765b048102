"""Classes, files and folders of any name: told as they are, and acting on nothing that they are shown in."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from helpers.campaign import tell
from helpers.planted_world import Ran, model_arguments, quick_arguments, whyclass
from whyclass.planted import world

NAMES = {
    "terminal escapes": "\x1b[31mred\x1b]0;title\x07\x1b[2J",
    "rich markup": "[bold]x[/bold] [link=http://x.example]y[/link] [/]",
    "emoji codes": ":factory: :bomb:",
    "page markup": "<script>alert(1)</script>\" onload='x' {{ 7*7 }} &amp;",
    "bidi": "abc\u202etxt.exe\u202c \u2067x\u2069 \u200f",
    "5,000 characters": "long " * 1000,
    "half a surrogate pair": "\ud83d alone \udcff",
    "other scripts": "日本 żółć 🦉 e\u0301",
    "controls": "a\x00b\tc\r\n\x85\x9b31m d\u2028e",
}
"""One for each of the planted world's nine classes."""

ACTING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
"""What acts on a terminal or on a reader; ends of lines are the command's own."""

FILES = (
    "\x1b[31m.png",
    "[red]x[].png",
    ":factory:.png",
    "<b>&.png",
    "a\u202egnp.png",
    "x" * 240 + ".png",
    "a\nb.png",
)


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """The options of everything but the class: every name in it is hostile."""
    place = tmp_path_factory.mktemp("wo[red]rld:factory:")
    pool = world.write_pool(place / "pool\u202e", 2)
    pictures = sorted(pool.rglob("*.png"))
    for picture, name in zip(pictures, FILES, strict=False):
        picture.rename(picture.with_name(name))
    shutil.copy(pictures[-1], os.fsencode(pool) + b"/\xff\xfe.png")
    model = model_arguments(place / "model")
    names = place / "names.json"
    names.write_text(json.dumps(list(NAMES.values())))
    model[model.index("--class-names") + 1] = str(names)
    return [*model, "--images", str(pool), *quick_arguments()]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stores") / "s[b]t\x1b[31mo:bomb:re\u202e <i>&"


def harmless(ran: Ran, code: int = 0) -> Ran:
    assert ran.code == code, ran
    for said in (ran.out, ran.err):
        assert not ACTING.search(said), ACTING.search(said)
        said.encode()
    return ran


def page_is_harmless(text: str) -> None:
    assert not ACTING.search(text)
    assert "<script>alert" not in text
    assert "onload='x'" not in text
    assert "<b>&" not in text


@pytest.mark.parametrize("index", range(len(NAMES)), ids=list(NAMES))
def test_a_class_of_any_name_is_explained(given, store, index):
    name = list(NAMES.values())[index]
    place = ("--store", store, "--class", index)
    ran = harmless(whyclass("explain", *given, *place))
    if name.isascii() and name.isprintable() and len(name) < 100:
        assert name in ran.out  # as it is: no markup, no emoji
    found = harmless(whyclass("explain", *given, *place, "--json")).json
    assert found["class"]["index"] == index
    assert found["class"]["name"].split() == name.split()
    page_is_harmless(Path(os.fsdecode(found["page"])).read_text(encoding="utf-8"))
    tell(f"explained, in text, JSON and HTML: a class named with {list(NAMES)[index]}", 3, 3)


def test_contrasts_audits_tables_and_sites_of_any_names(given, store, tmp_path):
    several = [*given]
    several[several.index("--layer")] = "--layers"
    held = 0
    for form in ((), ("--json",)):
        harmless(whyclass("contrast", *given, "--store", store, "--class", "0", "--against", "1", *form))
        harmless(whyclass("audit", *several, "--store", store, "--workers", "1", *form))
        held += 2
    for form in ("text", "csv", "json", "markdown", "latex"):
        harmless(whyclass("tables", store, "--format", form))
        held += 1
    harmless(whyclass("tables", store, "--per-class", tmp_path / "x.csv"))
    harmless(whyclass("report", store, "--to", tmp_path / "site"))
    for page in [*store.glob("pages/*.html"), *(tmp_path / "site").rglob("*.html")]:
        page_is_harmless(page.read_text(encoding="utf-8"))
        held += 1
    tell("contrasts, audits, tables and pages of a site with all these names", held, held)


@pytest.mark.parametrize("name", list(NAMES.values()), ids=list(NAMES))
def test_an_error_tells_any_name_in_one_harmless_line(given, tmp_path, name):
    """Asked for as a class that is not there, as a folder, and as a layer."""
    changes = (
        ("--class", f"no {name}"),
        ("--images", f"no {name}"),
        ("--layer", f"no {name}"),
        ("--set", name),
    )
    for option, value in changes:
        base = [*given, "--store", str(tmp_path / "s"), "--class", "0"]
        at = len(base) - 1 - base[::-1].index(option) if option in base else None
        if at is None or option == "--set":
            base += [option, value]
        else:
            base[at + 1] = value
        ran = whyclass("explain", *base)
        harmless(ran, code=ran.code)
        if ran.code != 2:  # where no system would give such an argument, it is a usage error
            assert ran.code == 1
            assert ran.err.startswith("error: ")
            assert ran.err.count("\n") == 1
        assert "Traceback" not in ran.err
    tell("told in an error", len(changes), len(changes))

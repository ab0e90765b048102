"""The map of the house: its picture is what the imports say, and what it names is where it says."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import whyclass

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "whyclass"
SCRIPT = ROOT / "scripts" / "draw_architecture.py"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under a heading of the page, without the heading's and the dashes' row."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


QUESTIONS = rows("To change X, go to Y")
MOVES = rows("Where modules of 0.1 went")


def defined(body: list[ast.stmt]) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Names that statements define, each with the statements within."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.body
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from ((name.id, []) for name in ast.walk(target) if isinstance(name, ast.Name))


def is_defined(symbol: str, body: list[ast.stmt]) -> bool:
    """Whether statements define a name, or a name within a class: ``Task.counts``."""
    first, _, rest = symbol.partition(".")
    return any(name == first and (not rest or is_defined(rest, inner)) for name, inner in defined(body))


def test_the_picture_is_what_the_imports_say():
    drawing = runpy.run_path(str(SCRIPT))["drawing"]()
    committed = (ROOT / "docs" / "architecture.svg").read_bytes()
    assert drawing.encode() == committed, "run PYTHONPATH=tests python scripts/draw_architecture.py"


def test_an_arrow_that_follows_from_others_is_not_drawn():
    script = runpy.run_path(str(SCRIPT))
    uses = {"top": {"middle", "ground"}, "middle": {"ground"}, "ground": set()}
    assert script["reduced"](uses) == {"top": {"middle"}, "middle": {"ground"}, "ground": set()}


def test_arrows_and_what_follows_from_them_are_the_imports():
    script = runpy.run_path(str(SCRIPT))
    arrows, uses = script["reduced"](script["uses"]()), script["uses"]()

    def below(floor: str) -> set[str]:
        return arrows[floor].union(*(below(used) for used in arrows[floor]))

    assert all(uses[floor] <= below(floor) for floor in uses)
    row = script["rows"](arrows)
    for floor, used in arrows.items():
        for other in used:
            assert row[other] > row[floor]
            script["column"](floor, other, row)  # ends with a message where a box is in the way


def test_no_two_boxes_of_the_picture_overlap():
    script = runpy.run_path(str(SCRIPT))
    row = script["rows"](script["reduced"](script["uses"]()))
    places = [
        (row[floor], one)
        for floor, (first, last) in script["COLUMNS"].items()
        for one in range(first, last + 1)
    ]
    assert len(places) == len(set(places))


def test_thirty_questions_have_an_answer_each():
    assert len({question for question, _, _ in QUESTIONS}) == len(QUESTIONS) == 30
    assert len({file for _, file, _ in QUESTIONS}) == 30


@pytest.mark.parametrize(("question", "link", "symbol"), QUESTIONS, ids=[row[0] for row in QUESTIONS])
def test_what_is_asked_for_is_in_the_file_named(question, link, symbol):
    named = re.fullmatch(r"\[`(.+)`\]\(\.\./src/whyclass/(.+)\)", link)
    assert named
    assert named[1] == named[2]
    body = ast.parse((PACKAGE / named[1]).read_text(encoding="utf-8")).body
    assert is_defined(symbol.strip("`"), body), f"{symbol} is not in {named[1]}"


def test_a_name_that_is_not_there_is_missed():
    body = ast.parse("A, B = 1, 2\nclass C:\n    def d(self): pass\n").body
    assert [is_defined(name, body) for name in ("A", "B", "C.d", "d", "C.e", "A.d")] == [True] * 3 + [
        False
    ] * 3


def test_every_file_on_the_page_is_there():
    for file in re.findall(r"`([\w/]+\.py)`", PAGE):
        assert any((folder / file).is_file() for folder in (PACKAGE, ROOT)), file


def test_every_module_that_moved_is_listed():
    listed = {name for old, _ in MOVES for name in re.findall(r"`([\w.]+)`", old)}
    assert set(whyclass._MOVED) <= listed
    assert all(re.search(r"`[\w/]+\.py`", now) for _, now in MOVES)


def test_errors_and_the_page_say_the_same_of_where_modules_went():
    now = {name: place for old, place in MOVES for name in re.findall(r"`([\w.]+)`", old)}
    for name, told in whyclass._MOVED.items():
        for module in re.findall(r"whyclass\.([\w.]+)", told):
            path = module.strip(".").replace(".", "/")
            assert f"`{path}" in now[name], f"{name}: {told}"

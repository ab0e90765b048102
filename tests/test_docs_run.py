"""Every command and snippet of the site's first pages and how-tos does what it says, on the planted world."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from helpers.documents import blocks
from helpers.planted_world import QUICK, whyclass
from whyclass import settings
from whyclass.attribution import methods
from whyclass.cli import project
from whyclass.planted import project as planted
from whyclass.study import study

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("quickstart.md", *sorted(f"how-to/{path.name}" for path in DOCS.glob("how-to/*.md")))

ELSEWHERE = {
    "python3 -m venv .venv": "scripts/check_wheel.py makes such an environment",
    ". .venv/bin/activate": "the shell's",
    "python -m pip install .": "the wheel is installed and run by scripts/check_wheel.py",
    "whyclass demo": "it takes a minute; the wheel's check runs it",
}
"""Lines that are run by something else."""

ENDS = {"--fail-on": (0, 3), "--class NAME": None}
"""Parts of lines that may end with another exit code than 0."""

TINY = {**QUICK, "plane_permutations": 2, "plane_bootstraps": 2, "plane_starts": 2}
TINY.pop("precision")


def commands(text: str) -> list[str]:
    """The lines of a document's blocks of commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for kind, block in found if not kind for line in block.splitlines() if line.strip()]


def hurried(place: Path) -> None:
    """The settings that keep a test short, as a user would write them."""
    with (place / project.FILE).open("a") as file:
        file.writelines(f'{name} = "{value}"\n' for name, value in TINY.items())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """The folder in which a how-to begins."""
    place = planted.write_project(tmp_path_factory.mktemp("planted"), 6)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        assert whyclass("init", "--layer", "stage3").code == 0
    hurried(place)
    return place


def run(line: str, monkeypatch) -> None:
    """One line, as a shell would run it."""
    words = shlex.split(line)
    if line in ELSEWHERE:
        return
    if words[0] == "cd":
        monkeypatch.chdir(words[1])
        return
    assert words[0] == "whyclass", line
    if words[1] == "init":
        (Path.cwd() / project.FILE).unlink(missing_ok=True)
    ran = whyclass(*words[1:])
    allowed = next((codes for part, codes in ENDS.items() if part in line), (0,))
    assert ran.code in (allowed or (0,)), f"{line}\n{ran.err}"
    if words[1] == "init":
        hurried(Path.cwd())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_pasted(page, prepared, tmp_path, monkeypatch):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert "…" not in text
    monkeypatch.setattr(planted, "PICTURES", 6)
    monkeypatch.setattr(planted.write_project, "__defaults__", (6, 0))
    monkeypatch.chdir(tmp_path if page == "quickstart.md" else prepared)
    for line in commands(text):
        run(line, monkeypatch)
    monkeypatch.setattr(study, "Settings", lambda: settings.Settings(**TINY))
    for table, row in ((settings.CHOICES, "method"), (methods.METHODS, "integrated")):  # what a page puts in
        monkeypatch.setitem(table, row, table.get(row))
    known: dict[str, Any] = {"__name__": "snippet"}
    for code in blocks(text):  # one goes on where the one before it ended
        exec(compile(code, page, "exec"), known)


def test_lines_are_found():
    assert "whyclass explain --class hawk" in commands((DOCS / "quickstart.md").read_text())

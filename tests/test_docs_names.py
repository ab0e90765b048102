"""What the documents name is there: modules, public names, files and links."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from helpers.documents import blocks

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*/*.md"),
    )
)
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("src", "scripts", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
IMAGINED = ("path/to/file.py", "path/to/net.py", "nets/own.py")
"""Files of a reader, in examples."""


def imported(code: str) -> set[str]:
    """The dotted names of the package that code imports, or reaches from the package itself."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "whyclass":
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "whyclass"}
        elif isinstance(node, ast.Attribute) and re.match(r"whyclass\.", name := ast.unparse(node)):
            found |= set(re.findall(r"^whyclass[.\w]*", name))
    return found


def mentioned(text: str) -> set[str]:
    """The dotted names of the package that prose mentions as code."""
    found = re.findall(r"`(whyclass(?:\.\w+)+)", text)
    return {name for name in found if name.rpartition(".")[2] not in ("json", "html", "zip", "toml")}


def files(text: str) -> set[str]:
    """The Python files that prose mentions as code, with their folder."""
    spans = " ".join(re.findall(r"``?([^`\n]+)``?", text))
    return {
        file for file in re.findall(r"(?<![\w/.])[\w-]+(?:/[\w.-]+)+\.py\b", spans) if file not in IMAGINED
    }


def links(text: str) -> set[str]:
    """The files that a document links to."""
    return {
        target.partition("#")[0]
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"[a-z]+:|#", target)
    }


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or is reached from one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[length:]:
                found = getattr(found, part)
        except AttributeError:
            return False
        return True
    return False


def is_private(name: str) -> bool:
    return any(part.startswith("_") for part in name.split("."))


def file_is_there(file: str) -> bool:
    """Whether a file is there as it is named: from the root, from the package or from the tests."""
    return any((ROOT / place / file).exists() for place in ("", "src/whyclass"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_snippet_imports_is_there_and_public(document):
    for code in blocks((ROOT / document).read_text()):
        for name in imported(code):
            assert is_there(name), name
            assert not is_private(name), name


@pytest.mark.parametrize("document", [*DOCUMENTS, *SOURCES])
def test_names_and_files_that_are_mentioned_are_there(document):
    text = (ROOT / document).read_text()
    assert [name for name in mentioned(text) if not is_there(name) or is_private(name)] == []
    assert [file for file in files(text) if not file_is_there(file)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    folder = (ROOT / document).parent
    assert [link for link in links((ROOT / document).read_text()) if not (folder / link).exists()] == []


def test_snippets_are_found_and_read():
    found = [
        name
        for document in DOCUMENTS
        for code in blocks((ROOT / document).read_text())
        for name in imported(code)
    ]
    assert {"whyclass", "whyclass.Study", "whyclass.models.split.split", "whyclass.visualise"} <= set(found)


@pytest.mark.parametrize(
    ("name", "there"),
    [("whyclass.Study.explain", True), ("whyclass.split", False), ("whyclass.models.split.split", True)],
)
def test_a_name_that_has_moved_is_not_there(name, there):
    assert is_there(name) is there


def test_a_mention_is_recognised():
    text = "See `study/audit.py`, `path/to/file.py`, ``whyclass.views.VIEWS`` and [here](a/b.py#c), [there](https://x.y)."
    assert mentioned(text) == {"whyclass.views.VIEWS"}
    assert files(text) == {"study/audit.py"}
    assert links(text) == {"a/b.py"}
    assert imported("import whyclass\nwhyclass.Study(1).explain(2)\n") == {"whyclass", "whyclass.Study"}

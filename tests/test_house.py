"""The rules of the house: what may import what, who writes, who hooks, what is public."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import whyclass
from whyclass import errors, records

ROWS = (
    "errors records codec disk grid settings progress",
    "forms tasks split rules rewrites deeplift data weights models store classes fuse parts world",
    "index attribution frames spaces",
    "concepts contrast",
    "crops visualise",
    "checks scene pictures tables",
    "study",
    "report demo",
    "cli",
)
"""Modules from the bottom up; a module imports from rows below its own, and from its own without a cycle."""

ROW = {name: number for number, names in enumerate(ROWS, 1) for name in names.split()}

WRITERS = {
    "disk": "whole files or none",
    "store": "rows of a pass over the pool",
    "world": "the demonstration's pool of pictures",
}
"""The only files that write, and what."""

MAKING = re.compile(
    "mkdir|makedirs|write_bytes|write_text|touch|symlink_to|mkstemp|NamedTemporaryFile|tofile|save_file|"
    "unlink|rename|rmdir|rmtree|truncate"
)
"""Methods and functions that make or change files."""

ROOT = Path(whyclass.__file__).parent
FILES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))
}
MODULES = [file for file in FILES if file != "__init__.py"]


def owner(file: str) -> str:
    """The row's name that a file belongs to: ``report/page.py`` is ``report``."""
    return file.partition("/")[0].removesuffix(".py")


def imports(file: str) -> Iterator[str]:
    """Modules of the house that a file imports, by the row's name, wherever in the file it does so."""
    for node in ast.walk(ast.parse(FILES[file])):
        if isinstance(node, ast.ImportFrom):
            depth = file.count("/")
            inside = node.level > depth or (node.module or "").split(".")[0] == "whyclass"
            path = (node.module or "").removeprefix("whyclass").strip(".")
            if inside:
                yield from [path.split(".")[0]] if path else [name.name for name in node.names]
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("whyclass."):
                    yield name.name.split(".")[1]


def calls(file: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, with the dotted name of what is called."""
    for node in ast.walk(ast.parse(FILES[file])):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def writes(name: str, call: ast.Call) -> bool:
    """Whether a call makes or changes a file.

    Saving a picture into memory, or a record by its own method, does not; a temporary folder to keep a
    store in is not yet a result.
    """
    last = name.rpartition(".")[2]
    if MAKING.fullmatch(last) or name in (
        "np.save",
        "np.savez",
        "torch.save",
        "os.replace",
        "shutil.copy",
        "shutil.move",
    ):
        return True
    given = [
        node.value
        for value in (*call.args, *call.keywords)
        for node in ast.walk(value)
        if isinstance(node, ast.Constant)
    ]
    modes = [mode for mode in given if isinstance(mode, str) and re.fullmatch("[rwaxbt+]+", mode)]
    return last in ("open", "fdopen") and any(set(mode) & set("wax+") for mode in modes)


def public(kind: type) -> list[type]:
    """Classes of every module that are derived from ``kind``."""
    found = []
    for entry in pkgutil.walk_packages([str(ROOT)], "whyclass."):
        module = importlib.import_module(entry.name)
        found += [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == entry.name]
    return [c for c in found if issubclass(c, kind)]


# ---------------------------------------------------------------- imports


def test_every_module_has_a_row():
    assert {owner(file) for file in MODULES} == set(ROW)


@pytest.mark.parametrize("file", MODULES)
def test_imports_point_down_the_rows(file):
    mine = owner(file)
    above = {name for name in imports(file) if name in ROW and ROW[name] > ROW[mine]}
    assert not above, f"{file} (row {ROW[mine]}) imports {above} from above"


def test_there_is_no_cycle():
    graph: dict[str, set[str]] = {}
    for file in MODULES:
        names = {name for name in imports(file) if name in ROW and name != owner(file)}
        graph.setdefault(owner(file), set()).update(names)
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError
    assert graph["study"] >= {"split", "data", "index", "attribution", "concepts", "crops", "pictures"}


@pytest.mark.parametrize(
    ("file", "forbidden"),
    [
        ("errors.py", "."),
        ("grid.py", "torch numpy PIL ."),
        ("records/audit.py", "torch PIL"),
        ("records/base.py", "torch PIL"),
        ("records/choice.py", "torch PIL"),
        ("records/contrast.py", "torch PIL"),
        ("records/explanation.py", "torch PIL"),
        ("codec.py", "torch PIL"),
        ("report/__init__.py", "torch"),
        ("report/page.py", "torch"),
        ("report/pictures.py", "torch"),
        ("report/text.py", "torch"),
        ("report/contrasts.py", "torch"),
        ("report/choice.py", "torch PIL"),
        ("report/curves.py", "torch"),
        ("report/objects.py", "torch"),
        ("report/pairs.py", "torch"),
        ("report/site.py", "torch PIL"),
        ("report/tabular.py", "torch PIL"),
        ("tables.py", "torch PIL"),
        ("crops.py", "torch"),
        ("concepts.py", "torch"),
    ],
)
def test_a_module_knows_no_more_than_it_needs(file, forbidden):
    known = set()
    for node in ast.walk(ast.parse(FILES[file])):
        if isinstance(node, ast.Import):
            known |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            known.add("." if node.level else str(node.module).split(".")[0])
    assert not known & set(forbidden.split())


# ---------------------------------------------------------------- who may do what


@pytest.mark.parametrize("file", FILES)
def test_only_the_writers_write(file):
    found = [f"{name} in line {call.lineno}" for name, call in calls(file) if writes(name, call)]
    assert bool(found) == (owner(file) in WRITERS), f"{file}: {found}"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open(path, 'w')", True),
        ("path.open('r+b' if there else 'wb')", True),
        ("open(path, mode='ab')", True),
        ("path.write_text('x')", True),
        ("os.makedirs(path)", True),
        ("torch.save(x, path)", True),
        ("os.fdopen(handle, 'wb')", True),
        ("open(path)", False),
        ("path.open('rb')", False),
        ("Image.open(path)", False),
        ("picture.save(out, 'PNG')", False),
        ("dataclasses.replace(x, mode='w')", False),
    ],
)
def test_writing_is_recognised(monkeypatch, code, expected):
    monkeypatch.setitem(FILES, "x.py", code)
    assert any(writes(name, call) for name, call in calls("x.py")) is expected


@pytest.mark.parametrize("file", FILES)
def test_hooks_live_in_one_file(file):
    found = [name for name, _ in calls(file) if re.search(r"register_\w*hook", name)]
    assert bool(found) == (file == "split.py")


@pytest.mark.parametrize("file", FILES)
def test_no_pickle_is_executed(file):
    for name, call in calls(file):
        if name.endswith("torch.load"):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert given.get("weights_only") == "True"
        assert not re.search(r"\b(pickle|cPickle|dill|joblib|marshal)\.(load|loads|Unpickler)\b", name)
        assert name not in ("eval", "exec", "__import__", "os.system")
        assert "allow_pickle" not in {keyword.arg for keyword in call.keywords}


# ---------------------------------------------------------------- what is public


def test_the_public_list_is_short():
    assert len(whyclass.__all__) <= 25
    assert len(set(whyclass.__all__)) == len(whyclass.__all__)


def test_no_other_name_leaks_out():
    modules = {name for name, value in vars(whyclass).items() if inspect.ismodule(value)}
    names = {name for name in vars(whyclass) if not name.startswith("_")}
    assert names - modules == set(whyclass.__all__)


@pytest.mark.parametrize("name", whyclass.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    value = getattr(whyclass, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert len((value.__doc__ or "").split()) >= 5
        for part, member in vars(value).items():
            if inspect.isfunction(member) and not part.startswith("_"):
                assert member.__doc__, f"{name}.{part}"


def test_every_error_is_one_of_the_house():
    raised = [error for error in public(Exception) if not error.__name__.startswith("_")]
    assert errors.WhyclassError in raised
    for error in raised:
        assert issubclass(error, errors.WhyclassError)
        assert error.__module__ == "whyclass.errors"
        assert error.__name__ in whyclass.__all__


@pytest.mark.parametrize(
    "kind", [c for c in vars(records).values() if dataclasses.is_dataclass(c)], ids=lambda c: c.__name__
)
def test_records_are_frozen_and_hold_only_what_can_be_saved(kind):
    assert kind.__dataclass_params__.frozen
    own = {
        name for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("__")
    }
    assert not own, f"{kind.__name__} computes {own}"


def test_what_crosses_a_border_is_frozen():
    loose = [
        kind
        for kind in public(object)
        if dataclasses.is_dataclass(kind) and not kind.__dataclass_params__.frozen
    ]
    assert not loose

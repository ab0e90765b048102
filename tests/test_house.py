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

FLOORS = (
    "addresses errors plain_text progress progress_bars grid setting_checks settings intervals files rows "
    "views exact_products allocation",
    "records",
    "store merging naming",
    "concepts",
    "models",
    "pool",
    "attribution",
    "visualise",
    "checks",
    "report",
    "study",
    "serve",
    "planted",
    "cli",
)
"""Files of the ground, and folders and ``store`` above it, from the bottom up.

A module imports from floors below its own, and from its own without a circle.
"""

FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names.split()}

WRITERS = {
    "files.py": "whole files or none",
    "rows.py": "rows of a pass over the pool",
    "store.py": "folders of passes, and their locks",
    "merging.py": "passes of another store",
    "planted/world.py": "the demonstration's pool of pictures",
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
MODULES = [file for file in FILES if file not in ("__init__.py", "__main__.py")]  # the doors of the house


def owner(file: str) -> str:
    """The floor's name that a file belongs to: ``report/page.py`` is ``report``."""
    return file.partition("/")[0].removesuffix(".py")


def module(file: str) -> str:
    """The dotted name of a file within the package."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


NAMES = {module(file): file for file in MODULES}


def imports(file: str) -> set[str]:
    """Modules of the house that a file imports, wherever in the file it does so, also for types alone."""
    found = set()
    for node in ast.walk(ast.parse(FILES[file])):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}, line {node.lineno}: a relative import"
            home = (node.module or "").removeprefix("whyclass").strip(".")
            if (node.module or "").split(".")[0] == "whyclass":
                found |= {
                    sub if (sub := f"{home}.{name.name}".strip(".")) in NAMES else home for name in node.names
                }
        elif isinstance(node, ast.Import):
            found |= {n.name.removeprefix("whyclass.") for n in node.names if n.name.startswith("whyclass.")}
    return found - {module(file), ""}


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


def test_every_module_has_a_floor():
    assert {owner(file) for file in MODULES} == set(FLOOR)


@pytest.mark.parametrize("file", MODULES)
def test_imports_point_down_the_floors(file):
    mine = FLOOR[owner(file)]
    above = {name for name in imports(file) if FLOOR[owner(NAMES[name])] > mine}
    assert not above, f"{file} (on {FLOORS[mine]}) imports {above} from above"


def test_there_is_no_circle_of_files():
    graph = {module(file): imports(file) for file in MODULES}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError
    assert "models.split" in graph["study.context"]


@pytest.mark.parametrize(
    ("place", "forbidden"),
    [
        ("errors.py", "whyclass"),
        ("grid.py", "torch numpy PIL whyclass"),
        ("records", "torch PIL"),
        ("concepts/nmf.py", "torch"),
        ("pool/nearest_crops.py", "torch"),
        ("report", "torch"),
    ],
)
def test_a_module_knows_no_more_than_it_needs(place, forbidden):
    files = [file for file in FILES if file == place or file.startswith(f"{place}/")]
    assert files
    for file in files:
        known = set()
        for node in ast.walk(ast.parse(FILES[file])):
            if isinstance(node, ast.Import):
                known |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                known.add(str(node.module).split(".")[0])
        assert not known & set(forbidden.split()), file


# ---------------------------------------------------------------- the size of rooms


def functions(file: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, also those within others."""
    for node in ast.walk(ast.parse(FILES[file])):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


BRANCHING = (
    *(ast.If, ast.For, ast.While, ast.Try, ast.ExceptHandler),
    *(ast.BoolOp, ast.IfExp, ast.comprehension),
)


@pytest.mark.parametrize("file", FILES)
def test_rooms_are_of_one_size(file):
    assert len(FILES[file].splitlines()) <= 400
    for function in functions(file):
        named = f"{file}:{function.lineno} {function.name}"
        assert function.end_lineno - function.lineno < 60, named
        assert sum(isinstance(node, BRANCHING) for node in ast.walk(function)) <= 10, named
        given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        most = 100 if file.startswith("cli/") else MOST_PARAMETERS.get(f"{file}:{function.name}", 6)
        assert len([one for one in given if one.arg not in ("self", "cls")]) <= most, named


MOST_PARAMETERS: dict[str, int] = {
    "models/loading.py:load": 8,
    "study/study.py:__init__": 13,
    "study/layer_choice.py:choose_layer": 16,
    "visualise/optimise.py:draw": 11,
    "attribution/deeplift_rules/rewrites.py:_instance_norm": 8,
    "attribution/deeplift_rules/rewrites.py:_attention": 8,
}
"""Functions that take more than six, and how many; ``docs/decisions.md`` says why."""


@pytest.mark.parametrize("file", FILES)
def test_what_catches_everything_says_against_whose_code(file):
    lines = FILES[file].splitlines()
    for node in ast.walk(ast.parse(FILES[file])):
        if isinstance(node, ast.ExceptHandler):
            kinds = (
                {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
                if node.type
                else {"Exception"}
            )
            if kinds & {"Exception", "BaseException"}:
                around = lines[node.lineno - 1] + lines[node.lineno]
                assert "# " in around, f"{file}:{node.lineno}"


# ---------------------------------------------------------------- who may do what


@pytest.mark.parametrize("file", FILES)
def test_only_the_writers_write(file):
    found = [f"{name} in line {call.lineno}" for name, call in calls(file) if writes(name, call)]
    assert bool(found) == (file in WRITERS), f"{file}: {found}"


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
    assert bool(found) == (file == "models/forward.py")


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
    assert len(whyclass.__all__) <= 30
    assert len(set(whyclass.__all__)) == len(whyclass.__all__)


def test_no_other_name_is_listed():
    assert dir(whyclass) == sorted(whyclass.__all__)


@pytest.mark.parametrize("name", ["data", "nonsense"])
def test_a_name_that_is_not_there_is_told_with_those_that_are(name):
    for line, error in ((f"whyclass.{name}", AttributeError), (f"from whyclass import {name}", ImportError)):
        with pytest.raises(error, match=f"{name}.*Explanation, .*compare_models, load"):
            exec(line, {"whyclass": whyclass})
    assert not hasattr(whyclass, name)


def test_a_module_that_is_there_is_imported_though_one_of_0_1_had_its_name():
    exec("from whyclass import attribution, concepts, study")


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

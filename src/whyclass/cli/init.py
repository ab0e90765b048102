"""The command that writes ``whyclass.toml``: what can be found out is, and the rest is asked for."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from whyclass import files
from whyclass.addresses import path_or_url
from whyclass.cli.consoles import out, say
from whyclass.cli.options import AsJson, app
from whyclass.cli.panels import option_of
from whyclass.cli.project import FILE
from whyclass.errors import SettingsError

FACTORIES = ("build", "factory", "model", "net", "build_model", "create_model", "get_model", "make_model")
"""Names of functions that are taken for what makes a model."""

WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt")

NAMES = ("class_names", "classes", "names", "labels")
"""Names of files (.txt, .json) that are taken for the names of classes."""

PASSED = ("runs", "build", "dist", "node_modules", "site-packages", "docs", "tests")
"""Folders that hold no pool of images, nor those whose names begin with a dot."""

ENOUGH = 2000
"""Pictures of a folder that are counted."""


@dataclass(frozen=True)
class Found:
    """What stands in the file, by parameter, and a remark on some of it."""

    values: dict[str, Any] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


@app.command("init")
def write_file(
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="default: the factory in a file of this folder")
    ] = None,
    images: Annotated[
        Any | None,
        typer.Option(
            parser=path_or_url,
            metavar="FOLDER",
            help="or a URL; default: the folder here with pictures",
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="LAYER", help="default: the end of the model's last stage")
    ] = None,
    store: Annotated[Path | None, typer.Option(metavar="FOLDER", help="default: runs/ and the model")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="default: the file beside the factory")
    ] = None,
    class_names: Annotated[
        Path | None, typer.Option(metavar="FILE", help="default: the file beside the factory")
    ] = None,
    again: Annotated[bool, typer.Option("--overwrite", help="write over a file that is there")] = False,
    as_json: AsJson = False,
) -> None:
    """Write whyclass.toml into this folder, so that model, images and store need not be given again."""
    place = Path.cwd() / FILE
    if place.exists() and not again:
        raise SettingsError(f"{place} is there already; edit it, or write over it with --overwrite")
    found = Found()
    found.values["model"] = model or _chosen("model", factories(place.parent), "MODEL")
    _add_files(found, place.parent, {"weights": weights, "class_names": class_names})
    found.values["images"] = [images or _chosen("images", pools(place.parent), "FOLDER")]
    found.values["layer"] = layer or _layer(found)
    found.values["store"] = store or Path("runs") / _stem(found.values["model"])
    files.write(place, text(found).encode())
    if as_json:
        plain = {option_of(name): _plain(value) for name, value in found.values.items()}
        say("init", {"file": str(place), "options": plain})
        return
    out.print(f"written: {escape(str(place))}", highlight=False)
    out.print(escape(text(found).rstrip()), highlight=False)
    out.print("next:  whyclass explain --class NAME", highlight=False)


def text(found: Found) -> str:
    """The file: one option a line, with a remark where something was chosen."""
    lines = ["# options of every whyclass command in this folder and below; the command line goes first"]
    for name, value in found.values.items():
        remark = f"  # {found.remarks[name]}" if name in found.remarks else ""
        lines.append(f"{option_of(name)} = {json.dumps(_plain(value), ensure_ascii=False)}{remark}")
    lines += ["", "[settings]  # as --set has them; 'whyclass settings' lists them"]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.as_posix() if isinstance(value, Path) else value


def factories(folder: Path) -> list[str]:
    """``file.py:factory`` of every function here that looks like one: by name, with no argument needed."""
    found: list[str] = []
    for file in sorted(folder.glob("*.py")):
        try:
            tree = ast.parse(files.read(file))
        except (SyntaxError, ValueError):
            continue
        made = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in FACTORIES]
        found += [f"{file.name}:{node.name}" for node in made if _without_arguments(node)]
    return found


def _without_arguments(node: ast.FunctionDef) -> bool:
    given = node.args
    named = len(given.kwonlyargs) == sum(default is not None for default in given.kw_defaults)
    return named and len(given.posonlyargs) + len(given.args) == len(given.defaults)


def pools(folder: Path) -> list[str]:
    """Folders here that hold pictures, those with most first."""
    counts = {place.name: sum(1 for _ in _pictures(place)) for place in _folders(folder)}
    return [name for name, n in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if n]


def _folders(folder: Path) -> list[Path]:
    return [
        place
        for place in sorted(folder.iterdir())
        if place.is_dir() and not place.name.startswith(".") and place.name not in PASSED
    ]


def _pictures(folder: Path) -> Iterator[Path]:
    """At most so many pictures of a folder and those below it."""
    from whyclass.pool.files_of import EXTENSIONS

    n = 0
    for file in folder.rglob("*"):
        if file.suffix.lower() in EXTENSIONS:
            n += 1
            yield file
        if n == ENOUGH:
            return


def _add_files(found: Found, folder: Path, given: dict[str, Path | None]) -> None:
    """Weights and class names as given, or that lie beside a factory; a library's model brings its own."""
    found.values.update({option: file for option, file in given.items() if file is not None})
    if ".py:" not in found.values["model"]:
        return
    weights = sorted(file.name for file in folder.iterdir() if file.suffix in WEIGHTS)
    names = [name for stem in NAMES for name in (f"{stem}.txt", f"{stem}.json") if (folder / name).is_file()]
    for option, there in (("weights", weights), ("class_names", names)):
        if there and given[option] is None:
            found.values[option] = Path(there[0])
        if len(there) > 1 and given[option] is None:
            found.remarks[option] = f"also here: {', '.join(there[1:])}"


def _layer(found: Found) -> str:
    """The end of the model's last stage, whose crops are largest; what else there is becomes a remark."""
    from whyclass.models import loading
    from whyclass.models.setup import example_image
    from whyclass.models.survey import survey
    from whyclass.study.layer_candidates import candidates

    with redirect_stdout(sys.stderr):  # what somebody's model prints is no result
        loaded = loading.load(found.values["model"], pretrained=False)
        infos = candidates(loaded.model, survey(loaded.model, example_image(loaded.preprocessing)))
    if not infos:
        return "auto"
    others = ", ".join(info.name for info in infos[:-1])
    said = f"{others} show smaller crops" if others else "the only one of its kind"
    found.remarks["layer"] = f"{said}; 'auto' tests which is best"
    return infos[-1].name


def _chosen(option: str, found: Sequence[str], metavar: str) -> Any:
    """The one that was found; asked for where there is none, or more, and somebody can answer."""
    if len(found) == 1:
        return Path(found[0]) if option == "images" else found[0]
    said = f"found {', '.join(found[:5])}" if found else "found none here"
    if not sys.stdin.isatty():
        raise SettingsError(f"which {option}? {said}; give --{option} {metavar}")
    answer = typer.prompt(f"which {option}? ({said})", err=True)
    return Path(answer) if option == "images" else answer


def _stem(model: str) -> str:
    """A folder's name for a model: ``resnet50`` of ``torchvision:resnet50``, ``net`` of ``net.py:build``."""
    from whyclass.store import safe_name

    file = model.rpartition(":")[0]
    return safe_name(Path(file).stem if file.endswith(".py") else model.split(":")[1], "model")

"""The layers of a model, and the choice of one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from whyclass.cli.audit import class_list, split_list
from whyclass.cli.consoles import out, say
from whyclass.cli.engines import ENGINES, Workers, begun
from whyclass.cli.options import Later, app, print_record, with_choice
from whyclass.cli.reading import numbers
from whyclass.errors import SettingsError
from whyclass.setting_checks import told
from whyclass.settings import CHOICE_CLASSES, CHOICE_SAMPLE

LISTED = ("resize", "crop", "mean", "std")
"""Options of the images that a list of layers takes too: by them the crops are as large as they will be."""

DIGITS = 9
"""Of a number of classes at most."""

if TYPE_CHECKING:
    from whyclass.models.layer_info import LayerInfo


@app.command()
@with_choice
def layers(
    later: Later,
    net: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="torchvision:NAME, timm:NAME, smp:ARCH:ENCODER or path/to/file.py:factory"
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="also layers with signed activations, and those that cannot be used")
    ] = False,
    choose: Annotated[
        bool, typer.Option("--choose", help="test which layer is best; needs --images and --store")
    ] = False,
    candidates: Annotated[
        str | None,
        typer.Option(
            "--layers", metavar="LAYERS", help="candidates, with commas; default: the ends of the stages"
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help=f"how many to draw (default {CHOICE_CLASSES}), or names or indexes, with commas, or a file "
            "of them; one number is a count, and a comma makes it an index: 207,"
        ),
    ] = None,
    concepts: Annotated[
        str | None, typer.Option(help="numbers of concepts to try, with commas: 3,6,9; default: the setting")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            help=f"images that crops are searched in; default {CHOICE_SAMPLE}; all that the classes are "
            "explained by are among them, even if more"
        ),
    ] = None,
    engine: Annotated[str | None, typer.Option(help=ENGINES)] = None,
    workers: Workers = None,
) -> None:
    """List a model's layers with their output shapes and crop sizes, which needs no weights; or choose one.

    With --choose the prediction test is run at several layers on a sample of classes, and the layer with
    the smallest crops that score as well as the best is chosen: what --layer auto takes.
    """
    given = {"layers": candidates, "classes": classes, "concepts": concepts, "sample": sample}
    given |= {"engine": engine, "workers": workers}
    name = net or later.given.get("model")
    if name is None:
        raise typer.BadParameter("Missing argument 'MODEL'.")
    if net and "model" in later.line:
        raise typer.BadParameter("MODEL is given twice, as an argument and as --model.")
    if choose:
        _choose(later, name, {option: value for option, value in given.items() if value is not None})
        return
    unused = [option for option, value in given.items() if value is not None]
    unused += later.named(besides=("model", *LISTED, "as_json", "quiet"))
    if unused:
        raise typer.BadParameter(f"--{unused[0]} is for --choose.")
    _list(name, later.given, everything)


def _list(name: str, given: dict[str, Any], everything: bool) -> None:
    from whyclass.records import codec

    with redirect_stdout(sys.stderr):  # what somebody's model prints is no result
        infos = _surveyed(name, given)
    chosen = [info for info in infos if everything or not (info.problem or info.signed)]
    chosen = chosen or [info for info in infos if not info.problem]  # such as of a net without ReLU
    if given["as_json"]:
        say("layers", {"model": name, "layers": [codec.to_json(info) for info in chosen]})
        return
    out.print(_table(chosen, ["remark"] if everything else []), soft_wrap=False)
    if (hidden := len(infos) - len(chosen)) > 0:
        out.print(f"{hidden} more are signed or cannot be explained; --all lists them with the reason.")


def _surveyed(name: str, given: dict[str, Any]) -> Sequence[LayerInfo]:
    """The layers, for images of the size that the options ask for."""
    from whyclass.models import loading
    from whyclass.models.setup import example_image
    from whyclass.models.survey import survey

    seen = {option: given[option] for option in ("resize", "crop")}
    seen |= {option: numbers(given[option], option) for option in ("mean", "std")}
    loaded = loading.load(name, **seen, pretrained=False)
    return survey(loaded.model, example_image(loaded.preprocessing))


def _table(infos: Sequence[LayerInfo], remark: list[str]) -> Table:
    longest = max((len(info.name) for info in infos), default=0)
    named = Column("layer", no_wrap=True, min_width=longest)  # a name that is cut off cannot be given back
    table = Table(named, "kind", "output", "crop (px)", *remark)
    for info in infos:
        shape = " x ".join(map(str, info.shape[1:]))
        side = f"{info.crop[0]} x {info.crop[1]}" if info.crop else ""
        why = info.problem or ("signed activations: see the setting 'signed'" if info.signed else "")
        cells = [info.name, info.kind, shape, side, why]
        table.add_row(*map(escape, cells[: len(table.columns)]))
    return table


def _choose(later: Later, name: str, given: dict[str, str | int]) -> None:
    from whyclass.report import layer_choice_text

    if missing := [option for option in ("images", "store") if not later.given.get(option)]:
        raise typer.BadParameter(f"--choose needs --{' and --'.join(missing)}.")
    asked: dict[str, Any] = dict(given)
    asked |= begun(asked.get("engine", "local"), asked.get("workers"))
    for option, value in given.items():
        if isinstance(value, str) and not split_list(value):
            raise SettingsError(f"--{option} is {told(value)}; name one or more, or leave it out")
    if candidates := given.get("layers"):
        asked["layers"] = split_list(str(candidates))
    if classes := given.get("classes"):
        asked["classes"] = _count_or_names(str(classes))
    if concepts := given.get("concepts"):
        asked["concepts"] = [_number(part) for part in split_list(str(concepts))]
    with redirect_stdout(sys.stderr):
        opened = later.open(model=name)
        found, page = opened.choose(**asked)
    print_record(found, {"page": str(page)}, opened.progress, opened.as_json)
    if not opened.as_json:
        out.print(layer_choice_text.table(found), highlight=False, markup=False)


def _count_or_names(text: str) -> int | list[str]:
    if not text.strip().isdecimal():
        return class_list(text)
    if len(text.strip()) > DIGITS:
        raise SettingsError(f"--classes is {told(text)}; no model has so many")
    return int(text)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise SettingsError(f"--concepts has {told(text)}; needed are numbers such as 3,6,9") from error

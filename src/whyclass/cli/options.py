"""The options that commands share, and the study they open.

All modules of the command line load what is heavy when a command runs: help needs none of it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from rich.markup import escape
from rich.table import Table

from whyclass.addresses import path_or_url
from whyclass.cli import panels, project
from whyclass.cli.consoles import err, out, say
from whyclass.cli.panels import option_of
from whyclass.cli.reading import changes, numbers
from whyclass.errors import SettingsError
from whyclass.progress import Progress
from whyclass.settings import PRECISIONS, PRESETS, preset

if TYPE_CHECKING:
    from whyclass.records import LayerChoice, Record
    from whyclass.store import Store
    from whyclass.study.study import Study

ENDS = (
    "Exit codes: 0 done; 1 an error of one line; 2 wrong use; 3 the answer falls short (--fail-on, demo); "
    "130 and 143 stopped. Options may stand in whyclass.toml: whyclass init."
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=ENDS,
)

Model = Annotated[
    str,
    typer.Option(help="torchvision:NAME[:WEIGHTS], timm:NAME, hf:NAME, smp:ARCH:ENCODER, file.py:factory"),
]
Images = Annotated[
    list[Any],
    typer.Option(parser=path_or_url, help="folder, pattern, CSV, Parquet, tar or URL; may be given again"),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="safetensors or weights_only checkpoint; FILE:KEY for one of several in it"),
]
Names = Annotated[Path | None, typer.Option(help="class names: one a line, a JSON list, or id2label")]
Labels = Annotated[
    Path | None,
    typer.Option(help="JSON object from a folder's name to a class, where folders are not named so"),
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", help="binary, multilabel, regression, embedding:FILE or file.py:function"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress")]
Resize = Annotated[int | None, typer.Option(help="resize the shorter side to N pixels")]
CropSide = Annotated[int | None, typer.Option("--crop", help="centre crop of N pixels")]
Numbers = Annotated[
    str | None, typer.Option(help="of each channel, such as 0.5,0.5,0.5 (R,G,B); one number stands for all")
]
Target = Annotated[str, typer.Option("--class", help="name or index of the class")]
Page = Annotated[Path | None, typer.Option(help="where the page goes; default: into the store")]


@app.callback(invoke_without_command=True)
def _about(
    version: Annotated[bool, typer.Option("--version", help="print the version and leave")] = False,
) -> None:
    """Why does a vision model predict a class? Concepts in pictures, each tested."""
    if version:
        from whyclass import __version__

        print(__version__)
        raise typer.Exit


def shown_unless(quiet: bool) -> Progress:
    """Progress on standard error, or none."""
    from whyclass.progress_bars import Shown

    return Progress() if quiet else Shown(err)


@dataclass(frozen=True)
class Asked:
    """A study as the command line opened it, and how its answer is to be told."""

    study: Study
    as_json: bool

    def tell(self, found: Record, page: Path, more: dict[str, Any]) -> None:
        """Save the page; print the record as JSON, or as a summary."""
        self.study.store.check()
        with self.study.progress.step("page"):
            file = found.save(page_file(page))
        self.study.store.check()
        self.print(found, {"page": str(file)} | more)

    def print(self, found: Record, more: dict[str, Any]) -> None:
        """One JSON object, or a table of labels and values."""
        if (choice := self.study.choice) is not None:
            page = choice_page(self.study.store, choice)
            more = {**more, "choice": {"layer": choice.chosen.layer, "why": choice.why, "page": str(page)}}
        print_record(found, more, self.study.progress, self.as_json)


def page_file(page: Path) -> Path:
    """The file of a page, whose name may lack its suffix."""
    if not page.name:
        raise SettingsError(f"--page is {str(page)!r}; needed is the name of a file")
    return page if page.suffix == ".html" else page.with_name(page.name + ".html")


def page_of(asked: Asked, name: str, key: str) -> Path:
    """Where the page of an answer lies: its name says what differs, class, layer and changed settings."""
    from whyclass.report.store_pages import differing
    from whyclass.settings import plain

    study = asked.study
    return study.store.page(" ".join([name, study.layer, differing(plain(study.settings))]).strip(), key)


def print_record(found: Record, more: dict[str, Any], progress: Progress, as_json: bool) -> None:
    """A record with the seconds it took as one JSON object, or as a table of labels and values."""
    from whyclass.report import json_objects, schemas, summary

    seconds = {name: round(value, 3) for name, value in progress.seconds.items()}
    if as_json:
        say(schemas.name_of(type(found)), json_objects.as_object(found) | more | {"seconds": seconds})
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for label, value in summary.rows(found):
        table.add_row(f"[bold]{escape(label)}[/]", escape(value))
    told = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.1)
    table.add_row("[bold]time[/]", told or "less than 0.1 s a step")
    out.print(table, soft_wrap=False)
    if "page" in more:
        out.print(f"[bold]page[/]  {escape(more['page'])}", highlight=False)


def choice_page(store: Store, found: LayerChoice) -> Path:
    """Where the page of a choice lies."""
    from whyclass.records import codec
    from whyclass.store import key_of

    return store.page(f"layer {found.chosen.layer}", key_of(choice=codec.to_json(found)))


Layer = Annotated[str, typer.Option(help="module path, such as layer4.2; see 'whyclass layers'; or auto")]


@dataclass(frozen=True)
class Opened:
    """A model and a pool as the command line named them, to be studied at one layer or several.

    ``study`` takes a layer, ``choose`` what a choice of one is made of; both write the page of a choice.
    """

    study: Callable[..., Study]
    choose: Callable[..., tuple[LayerChoice, Path]]
    progress: Progress
    as_json: bool


def _opened(
    model: Model,
    images: Images,
    store: Annotated[Path, typer.Option(help="folder for results; the next call is fast")],
    weights: Weights = None,
    class_names: Names = None,
    resize: Resize = None,
    crop: CropSide = None,
    mean: Numbers = None,
    std: Numbers = None,
    variant: Annotated[str, typer.Option("--preset", help=f"settings: {', '.join(PRESETS)}")] = "default",
    change: Annotated[list[str] | None, typer.Option("--set", help="change one setting: NAME=VALUE")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same bytes")] = 0,
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS))] = "auto",
    device: Device = "auto",
    labels: Labels = None,
    task: TaskOption = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Opened:
    """Load the model; a study of it is opened layer by layer."""
    from whyclass.models import loading
    from whyclass.models.class_labels import read_meaning
    from whyclass.models.task_options import named_task
    from whyclass.store import Store
    from whyclass.study.layer_choice import choose_layer
    from whyclass.study.study import Study

    progress = shown_unless(quiet)
    check_places(images, store, [weights, class_names])
    options = {"seed": seed, "precision": precision}
    preset(variant, **options)  # what is wrong is refused also where --set says otherwise
    settings = preset(variant, **options | changes(change or []))
    loaded = loading.load(
        model,
        weights,
        class_names,
        resize=resize,
        crop=crop,
        mean=numbers(mean, "mean"),
        std=numbers(std, "std"),
    )

    loaded = loaded if task is None else replace(loaded, reading=named_task(task))
    meaning = read_meaning(labels) if labels else None
    shared: dict[str, Any] = {"device": _placed(device), "progress": progress}

    def study(layer: str, **others: Any) -> Study:
        changed = replace(settings, **others)
        found = Study(loaded, layer, images, store, changed, labels=meaning, **shared)
        if found.choice is not None:
            page = found.choice.save(choice_page(found.store, found.choice))
            progress.note(f"how the layer was chosen: {page}")
        return found

    def choose(**asked: Any) -> tuple[LayerChoice, Path]:
        found = choose_layer(loaded, images, store, settings, **shared, **asked)
        return found, found.save(choice_page(Store(store), found))

    return Opened(study, choose, progress, as_json)


def check_places(images: list[Any], store: Path, others: list[Path | None]) -> None:
    """Refuse what can be the name of no file or folder, before anything is loaded."""
    given: dict[str, list[Any]] = {
        "--images": [*images],
        "--store": [store],
        "--weights or --class-names": others,
    }
    for option, places in given.items():
        for one in places:
            if one is not None and "\0" in str(one):
                raise SettingsError(f"{option} holds a null character; no file has such a name")


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a model and a pool; it is called with them, opened, first."""
    return _sharing(command, _parameters(_opened), lambda given, line: _opened(**given))


def with_study(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a study besides its own; it is called with the study first."""

    def asked(given: dict[str, Any], line: frozenset[str]) -> Asked:
        opened = _opened(**{name: value for name, value in given.items() if name != "layer"})
        return Asked(opened.study(given["layer"]), opened.as_json)

    return _sharing(command, _of_a_study(), asked)


def _of_a_study() -> list[inspect.Parameter]:
    layer = inspect.Parameter("layer", inspect.Parameter.KEYWORD_ONLY, annotation=Layer)
    first, *others = _parameters(_opened)
    return [first, layer, *others]


@dataclass(frozen=True)
class Later:
    """The options of a model and a pool as they were given, of which a command may need none.

    ``line`` names those that came on the command line.
    """

    given: dict[str, Any]
    line: frozenset[str] = frozenset()

    def open(self, **changes: Any) -> Opened:
        """What they name, opened."""
        given = self.given | changes
        return _opened(**{name: value for name, value in given.items() if name != "layer"})

    def named(self, besides: tuple[str, ...]) -> list[str]:
        """Names of the options that were given on the command line, but for some."""
        return [option_of(one.name) for one in _of_a_study() if one.name in self.line - set(besides)]


def with_choice(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a model and a pool, none required; it is called with them first."""
    return _sharing(command, [_optional(one) for one in _parameters(_opened)], Later)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a study; it is called with them, to be opened, first."""
    return _sharing(command, _of_a_study(), Later)


def with_options_or_none(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a study, none required; it is called with them first."""
    return _sharing(command, [_optional(one) for one in _of_a_study()], Later)


def _optional(parameter: inspect.Parameter) -> inspect.Parameter:
    """An option that may be left out, since a file or a store may give it."""
    if parameter.default is not parameter.empty:
        return parameter
    kind, option = get_args(parameter.annotation)
    return parameter.replace(default=None, annotation=Annotated[kind | None, option])


def _sharing(
    command: Callable[..., None],
    shared: list[inspect.Parameter],
    prepare: Callable[[dict[str, Any], frozenset[str]], Any],
) -> Callable[..., None]:
    """A command with options that others have too: those of the line, then of whyclass.toml or the store."""
    own = _parameters(command)[1:]
    required = [one.name for one in shared if one.default is one.empty]

    @wraps(command)
    def run(ctx: typer.Context, **given: Any) -> None:
        mine = {name: given.pop(name) for name in [one.name for one in shared]}
        line = frozenset(name for name in [*mine, *given] if _on_line(ctx, name))
        mine = project.completed(mine, line, told=not mine["quiet"])
        if missing := [name for name in required if not mine[name]]:
            raise typer.BadParameter(
                f"Missing option '--{option_of(missing[0])}'. It may stand in {project.FILE}."
            )
        with redirect_stdout(sys.stderr):  # what somebody's model prints is no result
            prepared = prepare(mine, line)
        with project.remembering(mine):
            command(prepared, **given)

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    needed = [panels.laid_out(_optional(one), one.name in required) for one in shared]
    ordered = sorted([*map(panels.laid_out, own), *needed], key=panels.place)
    run.__signature__ = inspect.Signature([context, *ordered])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (context, *ordered)}
    return run


def _on_line(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Parameters as keywords, with their annotations as objects, which is how Typer reads them."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
    ]


def _placed(device: str) -> str:
    """A named model has no place of its own: ``auto`` is a GPU where there is one."""
    import torch

    return "cuda" if device == "auto" and torch.cuda.is_available() else device

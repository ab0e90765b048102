"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import rich.progress as bars
import torch
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import __version__, codec, data, demo, models, report, world
from .errors import ClassError, SettingsError, WhyclassError
from .grid import ANCHORS
from .progress import Advance, Progress
from .records import Contrast, Explanation, Record
from .settings import PRECISIONS, PRESETS, Settings, preset
from .split import survey
from .store import key_of
from .study import Study, example_image

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

STOPPED = 130
"""Exit code after Ctrl-C."""

LONG = 2.0
"""Seconds after which a step is worth telling about."""


class Shown(Progress):
    """Progress on standard error: bars in a terminal, one line for each long step elsewhere."""

    @contextmanager
    def _shown(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        if not err.is_terminal:
            with self._line(name, unit) as advance:
                yield advance
            return
        columns = [bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn()]
        columns += [
            _Rate(unit),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
        ]
        with bars.Progress(*columns, console=err, transient=True) as shown:
            task = shown.add_task(name, total=total)
            yield lambda done: shown.advance(task, done)

    @contextmanager
    def _line(self, name: str, unit: str) -> Iterator[Advance]:
        import time

        started, count = time.perf_counter(), 0

        def advance(done: int) -> None:
            nonlocal count
            count += done

        yield advance
        if (seconds := time.perf_counter() - started) > LONG:
            rate = f", {count / seconds:.1f} {unit}/s" if count else ""
            err.print(f"{name}: {seconds:.1f} s{rate}", highlight=False)

    def note(self, message: str) -> None:
        """A line that stays."""
        err.print(f"[yellow]note:[/] {escape(message)}", highlight=False)


class _Rate(bars.ProgressColumn):
    """Units a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: bars.Task) -> str:
        """The speed as text."""
        return f"{task.speed:.1f} {self.unit}/s" if task.speed else ""


Model = Annotated[str, typer.Option(help="torchvision:NAME[:WEIGHTS] or path/to/file.py:factory")]
Weights = Annotated[Path | None, typer.Option(help="safetensors or weights_only checkpoint")]
Names = Annotated[Path | None, typer.Option(help="class names: one a line, or a JSON list")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]
Resize = Annotated[int | None, typer.Option(help="resize the shorter side to N pixels")]
CropSide = Annotated[int | None, typer.Option("--crop", help="centre crop of N pixels")]
Triple = Annotated[str | None, typer.Option(help="three numbers: R,G,B")]
Target = Annotated[str, typer.Option("--class", help="name or index of the class")]
Page = Annotated[Path | None, typer.Option(help="where the page goes; default: into the store")]


@dataclass(frozen=True)
class Asked:
    """A study as the command line opened it, and how its answer is to be told."""

    study: Study
    as_json: bool

    def tell(self, found: Record, page: Path, more: dict[str, Any]) -> None:
        """Save the page; print the record as JSON, or as a summary."""
        with self.study.progress.step("page"):
            file = found.save(page if page.suffix == ".html" else page.with_name(page.name + ".html"))
        self.print(found, {"page": str(file)} | more)

    def print(self, found: Record, more: dict[str, Any]) -> None:
        """One JSON object, or a table of labels and values."""
        seconds = {name: round(value, 3) for name, value in self.study.progress.seconds.items()}
        if self.as_json:
            self._print_object(report.as_object(found) | more | {"seconds": seconds})
            return
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for label, value in report.rows(found):
            table.add_row(f"[bold]{escape(label)}[/]", escape(value))
        told = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.1)
        table.add_row("[bold]time[/]", told)
        out.print(table)
        if "page" in more:
            out.print(f"[bold]page[/]  {escape(more['page'])}", highlight=False)

    @staticmethod
    def _print_object(found: dict[str, Any]) -> None:
        print(json.dumps(found, indent=2, allow_nan=False))


def _asked(
    model: Model,
    layer: Annotated[str, typer.Option(help="module path, such as layer4.2; see 'whyclass layers'")],
    images: Annotated[list[Path], typer.Option(help="folder of images; may be given again")],
    store: Annotated[Path, typer.Option(help="folder for results; the next call is fast")],
    weights: Weights = None,
    class_names: Names = None,
    resize: Resize = None,
    crop: CropSide = None,
    mean: Triple = None,
    std: Triple = None,
    variant: Annotated[str, typer.Option("--preset", help=f"settings: {', '.join(PRESETS)}")] = "default",
    change: Annotated[list[str] | None, typer.Option("--set", help="change one setting: NAME=VALUE")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same bytes")] = 0,
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS))] = "auto",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> Asked:
    """Open the study that a command asks."""
    progress = Progress() if quiet else Shown()
    settings = preset(variant, **{"seed": seed, "precision": precision} | _changes(change or []))
    loaded = models.load(
        model,
        weights,
        class_names,
        resize=resize,
        crop=crop,
        mean=_triple(mean, "mean"),
        std=_triple(std, "std"),
    )
    study = Study(loaded, layer, images, store, settings, device=_placed(device), progress=progress)
    return Asked(study, as_json)


def with_study(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a study besides its own; it is called with the study first."""
    shared, own = _parameters(_asked), _parameters(command)[1:]
    names = {parameter.name for parameter in shared}

    @wraps(command)
    def run(**given: Any) -> None:
        with redirect_stdout(sys.stderr):  # what somebody's model prints is no result
            asked = _asked(**{name: value for name, value in given.items() if name in names})
        command(asked, **{name: value for name, value in given.items() if name not in names})

    ordered = sorted((*own, *shared), key=lambda parameter: parameter.default is not parameter.empty)
    run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return run


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Parameters as keywords, with their annotations as objects, which is how Typer reads them."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
    ]


@app.callback(invoke_without_command=True)
def _about(
    version: Annotated[bool, typer.Option("--version", help="print the version and leave")] = False,
) -> None:
    """Why does a vision model predict a class? Concepts in pictures, each tested."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
@with_study
def explain(
    asked: Asked,
    target: Target,
    repair: Annotated[
        bool, typer.Option("--repair", help="where a prediction test fails, contrast with the class that won")
    ] = False,
    page: Page = None,
) -> None:
    """Explain one class: six concepts, their crops, and two tests of them, as a page."""
    with redirect_stdout(sys.stderr):
        found = asked.study.explain(target)
        more = _repaired(asked, found) if repair else {}
    place = page or asked.study.store.page(found.target.name, asked.study.key(found.target.index))
    asked.tell(found, place, {"repair": more} if repair else {})
    if "problem" in more:
        raise ClassError(f"no repair: {more['problem']}")
    if repair and not asked.as_json:
        out.print(escape(more["said"]), highlight=False)
        if "page" in more:
            out.print(f"[bold]page[/]  {escape(more['page'])}", highlight=False)


@app.command()
@with_study
def contrast(
    asked: Asked,
    target: Target,
    against: Annotated[
        str | None,
        typer.Option(help="the other class; default: the one that won where --class alone failed its test"),
    ] = None,
    page: Page = None,
) -> None:
    """Contrast two classes: what speaks for each against the other, tested three ways, as a page."""
    with redirect_stdout(sys.stderr):
        found = asked.study.contrast(target, against)
    asked.tell(found, page or _contrast_page(asked, found), {})


@app.command()
@with_study
def insert(
    asked: Asked,
    target: Target,
    against: Annotated[str, typer.Option(help="the class whose images get the patch")],
    patch: Annotated[str, typer.Option(help="image file, or a part of one: FILE:x,y,w,h")],
    at: Annotated[str, typer.Option(help=f"where: {', '.join(ANCHORS)}")] = "bottom-right",
    page: Page = None,
) -> None:
    """Insert a patch into images of one class: do they become another? Against blank and other crops."""
    file, part = _patch(patch)
    with redirect_stdout(sys.stderr):
        picture = data.as_patch(file, part)
        found = asked.study.insert(target, against, picture, at, patch)
    inserted = found.insertion
    key = key_of(
        asked=asked.study.key(found.target.index, found.source.index),
        patch=hashlib.blake2b(inserted.patch.data).hexdigest(),
        box=inserted.box,
    )
    name = f"{found.target.name} into {found.source.name}"
    asked.tell(found, page or asked.study.store.page(name, key), {})


@app.command()
@with_study
def pairs(
    asked: Asked,
    target: Annotated[list[str], typer.Option("--class", help="name or index of a class; give two or more")],
) -> None:
    """The shifting test between all ordered pairs of classes: the paper's table 3, with controls."""
    with redirect_stdout(sys.stderr):
        found = asked.study.pairs(target)
    if asked.as_json:
        asked.print(found, {})
        return
    heading, *lines = report.pairs.lines(found)
    title = escape(f"{found.model.name}, {found.model.layer}")
    table = Table(*heading, title=title, title_justify="left", box=SIMPLE, padding=0, show_edge=False)
    for line in lines:
        table.add_row(*map(escape, line))
    out.print(table)
    for note in report.pairs.notes(found):
        out.print(escape(note), highlight=False)


def _contrast_page(asked: Asked, found: Contrast) -> Path:
    a, b = found.a.explanation.target, found.b.explanation.target
    return asked.study.store.page(f"{a.name} against {b.name}", asked.study.key(a.index, b.index))


def _repaired(asked: Asked, alone: Explanation) -> dict[str, Any]:
    """What a contrast with the class that won makes of a failed explanation, and its page."""
    if alone.rival is None:
        return {"said": "nothing to repair: both prediction tests passed"}
    try:
        found = asked.study.contrast(alone.target.index)
    except ClassError as error:  # the class that won is predicted for no image, or has no cells
        return {"problem": str(error)}
    tests = found.a.prediction_test
    return {
        "said": report.repair_line(alone, found),
        "against": codec.to_json(found.b.explanation.target),
        "before": report.objects.tests(alone.prediction_test),
        "after": report.objects.tests(tests) if tests else None,
        "page": str(found.save(_contrast_page(asked, found))),
    }


def _patch(text: str) -> tuple[str, tuple[int, int, int, int] | None]:
    """A file, and the part of it that follows the last colon as ``x,y,w,h``."""
    file, colon, numbers = text.rpartition(":")
    if not colon or Path(text).exists() or not re.fullmatch(r"[-\d,\s]+", numbers):
        return text, None
    try:
        x, y, width, height = (int(number) for number in numbers.split(","))
    except ValueError as error:
        raise SettingsError(f"--patch {text}: needed is FILE or FILE:x,y,w,h in whole pixels") from error
    return file, (x, y, width, height)


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="torchvision:NAME or path/to/file.py:factory")],
    crop: CropSide = None,
    everything: Annotated[
        bool, typer.Option("--all", help="also the layers that cannot be explained")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List a model's layers with their output shapes and crop sizes. Needs no weights."""
    with redirect_stdout(sys.stderr):  # what somebody's model prints is no result
        loaded = models.load(model, crop=crop, pretrained=False)
        infos = survey(loaded.model, example_image(loaded.preprocessing.crop))
    chosen = [info for info in infos if everything or not info.problem]
    if as_json:
        print(json.dumps([codec.to_json(info) for info in chosen], indent=2))
        return
    table = Table(
        "layer", "kind", "output", "crop (px)", *(["cannot be explained since"] if everything else [])
    )
    for info in chosen:
        shape = " x ".join(map(str, info.shape[1:]))
        side = f"{info.crop[0]} x {info.crop[1]}" if info.crop else ""
        row = [info.name, info.kind, shape, side, *([info.problem] if everything else [])]
        table.add_row(*map(escape, row))
    out.print(table)
    if (hidden := len(infos) - len(chosen)) > 0:
        out.print(f"{hidden} more cannot be explained; --all lists them with the reason.")


@app.command("demo")
def show_demo(
    store: Annotated[Path, typer.Option(help="folder for the pictures, records and pages")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="of the pictures and of everything drawn")] = 0,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Explain a small planted world whose answer is known, and say what was found. No download."""
    result = demo.run(store, progress=Progress() if quiet else Shown(), seed=seed)
    pages = {judged.explanation.target.name: judged.page for judged in result.judged}
    if result.contrasted:
        pages["contrast"] = result.contrasted.page
    if as_json:
        findings = {j.explanation.target.name: codec.to_json(j.findings) for j in result.judged}
        found = {
            key: codec.to_json(getattr(result, key)) for key in ("planted", "found", "invented", "turned")
        }
        pages_json = {name: str(page) for name, page in pages.items()}
        if result.contrasted:
            found["contrasted"] = {"shortcut": result.contrasted.shortcut, "crops": result.contrasted.crops}
        print(
            json.dumps(
                {**found, "findings": findings, "pages": pages_json, "seconds": result.seconds}, indent=2
            )
        )
    else:
        out.print("\n".join(demo.summary(result)), highlight=False, markup=False)
        out.print(
            f"{result.seconds:.0f} s. Open the page of a class, best first that of the shortcut:",
            highlight=False,
        )
        for name in sorted(pages, key=lambda name: (name != world.TWINS[0], name != "contrast")):
            out.print(f"  {escape(str(pages[name]))}", highlight=False)
    contrasted = result.contrasted is None or result.contrasted.shortcut == (True, False)
    if result.found < result.planted or result.invented or not contrasted:
        raise typer.Exit(3)


def _placed(device: str) -> str:
    """A named model has no place of its own: ``auto`` is a GPU where there is one."""
    return "cuda" if device == "auto" and torch.cuda.is_available() else device


def _triple(text: str | None, name: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"--{name} is {text!r}; needed are numbers such as 0.5,0.5,0.5") from error
    return numbers * 3 if len(numbers) == 1 else numbers


def _changes(pairs: list[str]) -> dict[str, Any]:
    """Settings from ``NAME=VALUE``, each read as its own kind."""
    defaults = {field.name: getattr(Settings(), field.name) for field in fields(Settings)}
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        default = defaults.get(name, "")
        several = isinstance(default, tuple)
        kind: Callable[[str], Any] = type(default[0]) if several else type(default)
        try:
            changes[name] = tuple(kind(v) for v in value.split(",") if v) if several else kind(value)
        except ValueError as error:
            what = f"list of {kind.__name__}" if several else kind.__name__  # type: ignore[attr-defined]
            raise SettingsError(f"--set {pair}: {value!r} is no {what}") from error
    return changes


def main() -> None:
    """Run the command line; errors of whyclass end it with exit code 1, Ctrl-C with 130."""
    try:
        code = app(
            prog_name="whyclass", standalone_mode=False
        )  # gives the code of an Exit back instead of leaving
    except WhyclassError as error:
        err.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        code = 1
    except (KeyboardInterrupt, typer.Abort):  # older versions of typer; newer ones exit with 130
        code = STOPPED
    except Exception as error:
        # click's own usage errors know how to show themselves; anything else is a bug to be seen whole
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    if code == STOPPED:
        err.print("stopped; what was finished is kept: run the same command again to go on")
    sys.exit(code)

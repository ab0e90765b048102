"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import rich.progress as bars
import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import __version__, codec, demo, models, report, world
from .errors import SettingsError, WhyclassError
from .progress import Advance, Progress
from .records import Explanation
from .settings import PRECISIONS, PRESETS, Settings, preset
from .split import survey
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


@app.callback(invoke_without_command=True)
def _about(
    version: Annotated[bool, typer.Option("--version", help="print the version and leave")] = False,
) -> None:
    """Why does a vision model predict a class? Concepts in pictures, each tested."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def explain(
    model: Model,
    layer: Annotated[str, typer.Option(help="module path, such as layer4.2; see 'whyclass layers'")],
    images: Annotated[list[Path], typer.Option(help="folder of images; may be given again")],
    target: Annotated[str, typer.Option("--class", help="name or index of the class to explain")],
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
    page: Annotated[Path | None, typer.Option(help="where the page goes; default: into the store")] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Explain one class: six concepts, their crops, and two tests of them, as a page."""
    progress = Progress() if quiet else Shown()
    settings = preset(variant, **{"seed": seed, "precision": precision} | _changes(change or []))
    with redirect_stdout(sys.stderr):  # what somebody's model prints is no result
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
        found = study.explain(target)
    file = page or study.store.page(found.target.name, study.key(found.target.index))
    with progress.step("page"):
        file = found.save(file if file.suffix == ".html" else file.with_name(file.name + ".html"))
    if as_json:
        print(json.dumps(as_object(found, file, progress.seconds), indent=2, allow_nan=False))
    else:
        _print_summary(found, file, progress.seconds)


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
    if as_json:
        findings = {j.explanation.target.name: codec.to_json(j.findings) for j in result.judged}
        found = {
            key: codec.to_json(getattr(result, key)) for key in ("planted", "found", "invented", "turned")
        }
        pages_json = {name: str(page) for name, page in pages.items()}
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
        for name in sorted(pages, key=lambda name: name != world.TWINS[0]):
            out.print(f"  {escape(str(pages[name]))}", highlight=False)
    if result.found < result.planted or result.invented:
        raise typer.Exit(3)


def as_object(found: Explanation, page: Path, seconds: dict[str, float]) -> dict[str, Any]:
    """What ``--json`` prints."""
    tests = found.prediction_test
    return {
        "class": {"index": found.target.index, "name": found.target.name},
        "model": found.model.name,
        "layer": found.model.layer,
        "n_images": found.n_images,
        "n_predicted": found.n_predicted,
        "pool": {"size": found.pool.size, "digest": found.pool.digest},
        "skipped": codec.to_json(found.pool.skipped),
        "completeness": codec.to_json(found.completeness),
        "concepts": [
            {
                "share": concept.share,
                "crops": _crops(concept.including),
                "crops_excluding": _crops(concept.excluding),
            }
            for concept in found.concepts
        ],
        "prediction_test": {"including": _test(tests.including), "excluding": _test(tests.excluding)},
        "verdict": codec.to_json(report.verdict(found)),
        "warnings": list(found.warnings),
        "settings": found.settings,
        "versions": found.versions,
        "page": str(page),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _crops(crops: Any) -> list[dict[str, Any]]:
    return [
        {"image": c.image.path, "box": list(c.box), "cosine": c.cosine, "predicted": c.image.prediction.name}
        for c in crops
    ]


def _test(test: Any) -> dict[str, Any] | None:
    if test is None:
        return None
    return {
        "score": test.score,
        "predicted": test.predicted,
        "top": [{"name": p.name, "index": p.index, "score": p.score} for p in test.top],
        "layout": test.layout,
        "pool": test.pool,
        "control": codec.to_json(test.control),
    }


def _print_summary(found: Explanation, page: Path, seconds: dict[str, float]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for label, value in report.rows(found):
        table.add_row(f"[bold]{escape(label)}[/]", escape(value))
    table.add_row("[bold]time[/]", ", ".join(f"{name} {s:.1f} s" for name, s in seconds.items() if s >= 0.1))
    out.print(table)
    out.print(f"[bold]page[/]  {escape(str(page))}", highlight=False)


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
    kinds: dict[str, Callable[[str], Any]] = {
        field.name: type(getattr(Settings(), field.name)) for field in fields(Settings)
    }
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            changes[name] = kinds.get(name, str)(value)
        except ValueError as error:
            raise SettingsError(f"--set {pair}: {value!r} is no {kinds[name].__name__}") from error
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

"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from whyclass import __version__, codec, demo, models, world
from whyclass.cli import audits, questions
from whyclass.cli.options import AsJson, CropSide, app
from whyclass.cli.shown import Shown, err, out
from whyclass.errors import WhyclassError
from whyclass.progress import Progress
from whyclass.split import survey
from whyclass.study import example_image

__all__ = ["app", "audits", "main", "questions"]

STOPPED = 130
"""Exit code after Ctrl-C."""


@app.callback(invoke_without_command=True)
def _about(
    version: Annotated[bool, typer.Option("--version", help="print the version and leave")] = False,
) -> None:
    """Why does a vision model predict a class? Concepts in pictures, each tested."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def layers(
    model: Annotated[
        str,
        typer.Argument(help="torchvision:NAME, timm:NAME, smp:ARCH:ENCODER or path/to/file.py:factory"),
    ],
    crop: CropSide = None,
    everything: Annotated[
        bool, typer.Option("--all", help="also layers with signed activations, and those that cannot be used")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List a model's layers with their output shapes and crop sizes. Needs no weights."""
    with redirect_stdout(sys.stderr):  # what somebody's model prints is no result
        loaded = models.load(model, crop=crop, pretrained=False)
        infos = survey(loaded.model, example_image(loaded.preprocessing))
    chosen = [info for info in infos if everything or not (info.problem or info.signed)]
    chosen = chosen or [info for info in infos if not info.problem]  # such as of a net without ReLU
    if as_json:
        print(json.dumps([codec.to_json(info) for info in chosen], indent=2))
        return
    table = Table("layer", "kind", "output", "crop (px)", *(["remark"] if everything else []))
    for info in chosen:
        shape = " x ".join(map(str, info.shape[1:]))
        side = f"{info.crop[0]} x {info.crop[1]}" if info.crop else ""
        why = info.problem or ("signed activations: see the setting 'signed'" if info.signed else "")
        row = [info.name, info.kind, shape, side, *([why] if everything else [])]
        table.add_row(*map(escape, row))
    out.print(table)
    if (hidden := len(infos) - len(chosen)) > 0:
        out.print(f"{hidden} more are signed or cannot be explained; --all lists them with the reason.")


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

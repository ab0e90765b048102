"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from whyclass import __version__
from whyclass.cli import audit, explain, layers
from whyclass.cli.options import AsJson, app
from whyclass.cli.progress_display import Shown, err, out
from whyclass.errors import WhyclassError
from whyclass.planted import demo, world
from whyclass.progress import Progress
from whyclass.records import codec

__all__ = ["app", "audit", "explain", "layers", "main"]

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

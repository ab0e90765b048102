"""The command that explains the planted world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from whyclass.cli.options import AsJson, app
from whyclass.cli.progress_display import Shown, out
from whyclass.planted import demo, world
from whyclass.progress import Progress
from whyclass.records import codec


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

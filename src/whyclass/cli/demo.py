"""The command that explains the planted world."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from whyclass.cli.consoles import out, say
from whyclass.cli.gate import FELL_SHORT
from whyclass.cli.options import AsJson, Quiet, app, shown_unless
from whyclass.cli.serve import PORT, Host, NoBrowser, Port, run
from whyclass.settings import Settings

if TYPE_CHECKING:
    from whyclass.planted.demo import DemoResult


@app.command("demo")
def show_demo(
    store: Annotated[
        Path, typer.Option(metavar="FOLDER", help="folder for the pictures, records and pages")
    ] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(metavar="N", help="of the pictures and of everything drawn")] = 0,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="explain nothing, but write pictures, network and weights there, to try other commands on",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    serve: Annotated[bool, typer.Option("--serve", help="then explore it in the browser")] = False,
    host: Host = "127.0.0.1",
    port: Port = PORT,
    no_browser: NoBrowser = False,
) -> None:
    """Explain a small planted world whose answer is known, and say what was found. No download."""
    from whyclass.planted import demo

    Settings(seed=seed)  # which refuses what can be no seed, before any picture is drawn
    if write is not None:
        _written(write, seed, as_json)
        return
    result = demo.run(store, progress=shown_unless(quiet), seed=seed)
    pages = {judged.explanation.target.name: judged.page for judged in result.judged}
    if result.contrasted:
        pages["contrast"] = result.contrasted.page
    if as_json:
        say("demo", _as_object(result, pages))
    else:
        _tell(result, pages)
    contrasted = result.contrasted is None or result.contrasted.shortcut == (True, False)
    if serve:
        opener = partial(demo.study_of, store, seed=seed)
        run(store / "store", opener, host, port, no_browser)
    if result.found < result.planted or result.invented or not contrasted:
        raise typer.Exit(FELL_SHORT)


def _written(folder: Path, seed: int, as_json: bool) -> None:
    from whyclass.planted.project import write_project

    write_project(folder, seed=seed)
    if as_json:
        say("demo-files", {"folder": str(folder)})
    else:
        out.print(f"written: {escape(str(folder))}", highlight=False)
        out.print("next:  go there, then: whyclass init --layer stage3", highlight=False)


def _as_object(result: DemoResult, pages: dict[str, Path]) -> dict[str, Any]:
    from whyclass.records import codec

    found = {key: codec.to_json(getattr(result, key)) for key in ("planted", "found", "invented", "turned")}
    if result.contrasted:
        found["contrasted"] = {"shortcut": result.contrasted.shortcut, "crops": result.contrasted.crops}
    return {
        **found,
        "findings": {one.explanation.target.name: codec.to_json(one.findings) for one in result.judged},
        "pages": {name: str(page) for name, page in pages.items()},
        "seconds": result.seconds,
    }


def _tell(result: DemoResult, pages: dict[str, Path]) -> None:
    from whyclass.planted import demo, world

    out.print("\n".join(demo.summary(result)), highlight=False, markup=False)
    out.print(
        f"{result.seconds:.0f} s. Open the page of a class, best first that of the shortcut:", highlight=False
    )
    for name in sorted(pages, key=lambda name: (name != world.TWINS[0], name != "contrast")):
        out.print(f"  {escape(str(pages[name]))}", highlight=False)

"""The command that opens the explorer."""

from __future__ import annotations

import sys
import webbrowser
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from whyclass.cli.consoles import err, out
from whyclass.cli.options import Later, app, with_options_or_none
from whyclass.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from whyclass.serve.server import Opener
    from whyclass.store import Store
    from whyclass.study.study import Study

PORT = 8765

Host = Annotated[str, typer.Option(metavar="HOST", help="127.0.0.1, localhost or ::1: this machine alone")]
Port = Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes one that is free")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="only print the address")]


@app.command()
@with_options_or_none
def serve(
    later: Later,
    folder: Annotated[Path, typer.Argument(metavar="STORE", help="the folder that was given as --store")],
    host: Host = "127.0.0.1",
    port: Port = PORT,
    no_browser: NoBrowser = False,
) -> None:
    """Explore a store in the browser; with --model, --layer and --images also ask for more."""
    given = later.given
    whole = all(given[name] for name in ("model", "layer", "images"))
    if later.named(("store", "quiet", "as_json")) and not whole:
        raise SettingsError(
            "to open the model needed are --model, --layer and --images; or give none of them"
        )
    # of whyclass.toml only where it is about this store
    mine = later.named(("store", "quiet", "as_json")) or _same(given["store"], folder)
    opener = partial(study_of, given | {"store": folder, "quiet": True}, given["layer"])
    run(folder, opener if whole and mine else None, host, port, no_browser)


def _same(store: Path | None, folder: Path) -> bool:
    return store is not None and store.resolve() == folder.resolve()


def study_of(given: dict[str, Any], layer: str) -> Study:
    """The study that options name; called in each process of the explorer."""
    with redirect_stdout(sys.stderr):  # what somebody's model prints is no result
        return Later(given).open().study(layer)  # type: ignore[no-any-return]


def run(folder: Path, opener: Opener | None, host: str, port: int, no_browser: bool) -> None:
    """Serve a store until Ctrl-C."""
    try:
        from whyclass.serve import server
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the explorer needs {error.name}, which is not installed: pip install 'whyclass[serve]'"
        ) from error
    from whyclass.serve.guard import check_host

    check_host(host)

    def tell(line: str) -> None:
        err.print(f"[yellow]note:[/] {escape(line)}", highlight=False)

    store = _store(folder, opener)
    with server.server(store, opener, host, port, tell) as (explorer, serve_on, _):
        if explorer.problem:
            tell(f"the model could not be opened, so that nothing new can be asked: {explorer.problem}")
        out.print(f"[bold]explorer[/]  {escape(explorer.gate.address)}", highlight=False)
        out.print("Open this address in a browser of this machine; Ctrl-C ends it.", highlight=False)
        if not no_browser:
            webbrowser.open(explorer.gate.address)
        serve_on()


def _store(folder: Path, opener: Opener | None) -> Store:
    """The store, which the model makes where there is none."""
    from whyclass.store import MARK, find_store

    if opener is not None and not (folder / MARK).exists():
        opener()
    return find_store(folder)

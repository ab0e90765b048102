"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

from whyclass import __version__
from whyclass.cli import audit, contrast, demo, explain, layers  # each enters its commands
from whyclass.cli.options import app
from whyclass.cli.progress_display import err
from whyclass.errors import WhyclassError

COMMANDS = (demo, explain, contrast, layers, audit)
"""Modules of commands."""

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

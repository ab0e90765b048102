"""From the command line's arguments to its exit code, however it ends."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any

from whyclass.errors import WhyclassError

COMMANDS = ("demo", "explain", "contrast", "layers", "audit")
"""Modules of commands, in the order of the help."""

STOPPED = 130
"""Exit code after Ctrl-C."""

ENDING: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Signals that end the command, and who usually hears them; where they are ignored, they stay so."""


def main() -> None:
    """Run the command line; errors of whyclass end it with 1, Ctrl-C with 130, SIGTERM with 143.

    Whatever is heavy is loaded in here, so that a signal meanwhile ends it in the same way.
    """
    with _ending() as heard:
        try:
            code = _run()
        except KeyboardInterrupt:
            code = STOPPED
        except Exception:  # a module that is stopped while it loads may raise anything in turn
            if not heard:
                raise
            code = STOPPED
    if code == STOPPED:
        print("stopped; what was finished is kept: run the same command again to go on", file=sys.stderr)
        code = 128 + heard[-1] if heard else STOPPED
    sys.exit(code)


def _module_of(command: Any) -> str:
    return str(command.__module__.rpartition(".")[2])


def _run() -> int | None:
    """The exit code of the command that was asked for."""
    import typer
    from rich.markup import escape

    for name in COMMANDS:
        import_module(f"whyclass.cli.{name}")
    from whyclass.cli.options import app, err

    # whatever was imported first; the sort keeps a module's own order
    app.registered_commands.sort(key=lambda one: COMMANDS.index(_module_of(one.callback)))
    try:
        # gives the code of an Exit back instead of leaving
        return app(prog_name="whyclass", standalone_mode=False)
    except WhyclassError as error:
        err.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        return 1
    except typer.Abort:  # older versions of typer make this of Ctrl-C; newer ones exit with 130
        return STOPPED
    except Exception as error:  # click's usage errors, which show themselves; else a bug to be seen whole
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return getattr(error, "exit_code", 2)


@contextmanager
def _ending() -> Iterator[list[int]]:
    """Signals that came to end this process: each raises KeyboardInterrupt, so that all is left in order."""
    heard: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    able = threading.current_thread() is threading.main_thread()
    mine = [number for number, usual in ENDING.items() if able and signal.getsignal(number) == usual]
    for number in mine:
        signal.signal(number, end)
    try:
        yield heard
    finally:
        for number in mine:
            signal.signal(number, ENDING[number])

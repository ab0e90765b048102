"""From the command line's arguments to its exit code, however it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any

from whyclass.errors import WhyclassError

COMMANDS = (
    "demo",
    "explain",
    "image",
    "contrast",
    "compare",
    "diff",
    "layers",
    "audit",
    "serve",
    "settings",
    "init",
)
"""Modules of commands."""

ORDER = (
    *("demo", "explain", "image", "spurious", "contrast", "insert", "compare", "pairs", "layers", "audit"),
    *("diff", "tables", "report", "merge", "serve", "settings", "init"),
)
"""Commands in the order of the help, which is that of their use."""

STOPPED = 130
"""Exit code after Ctrl-C."""

ENDING: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Signals that end the command, and who usually hears them; where they are ignored, they stay so."""

SAID = "stopped; what was finished is kept: run the same command again to go on"


def main() -> None:
    """Run the command line; errors end it with 1, wrong use with 2, Ctrl-C with 130, SIGTERM with 143.

    An answer that falls short of what was asked for (``--fail-on``, the demonstration's truth) ends it
    with 3.

    A second signal ends it at once, with nothing half-written either; so does one while modules load.

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
    if heard or code == STOPPED:
        print(SAID, file=sys.stderr)
        code = 128 + heard[-1] if heard else STOPPED
    sys.exit(code)


def place(command: Any) -> int:
    """Where a command stands in the help."""
    name = command.name or command.callback.__name__
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _as_json(kind: str, message: str, code: int) -> None:
    """Where ``--json`` was asked for and nothing printed yet, the error as the one object of the call."""
    from whyclass.cli.consoles import printed, say

    if "--json" in sys.argv[1:] and not printed:
        say("error", {"error": {"kind": kind, "message": message, "exit_code": code}})


def _run() -> int | None:
    """The exit code of the command that was asked for."""
    import typer

    from whyclass.cli.consoles import flushed, printed, tolerant

    tolerant()
    printed.clear()
    for name in COMMANDS:
        import_module(f"whyclass.cli.{name}")
    from whyclass.cli.options import app

    app.registered_commands.sort(key=place)  # whatever was imported first
    try:
        # gives the code of an Exit back instead of leaving
        code = app(prog_name="whyclass", standalone_mode=False)
        return code if (why := flushed()) is None else _fail(OUTPUT.format(why=why))
    except typer.Abort:  # older versions of typer make this of Ctrl-C; newer ones exit with 130
        return STOPPED
    except Exception as error:  # of whyclass, of click, or of the machine; else a bug to be seen whole
        return _ended(error)


OUTPUT = "standard output cannot be written: {why}; what was computed is kept in the store"


def _fail(message: str, kind: str = "OSError") -> int:
    """Say in one line what was wrong, and as JSON where that was asked for."""
    from rich.markup import escape

    from whyclass.cli.consoles import err, give_up
    from whyclass.plain_text import clean

    if message.startswith(OUTPUT[:30]):
        give_up(sys.stdout)
    else:
        _as_json(kind, message, 1)
    err.print(f"[red]error:[/] {escape(clean(message))}", highlight=False)
    return 1


def _ended(error: Exception) -> int:
    """Say in one line what was wrong; a bug is raised again, to be seen whole."""
    if isinstance(error, WhyclassError):
        return _fail(str(error), type(error).__name__)
    if isinstance(error, MemoryError):
        return _fail(f"there is not enough memory for this {error}".strip(), "MemoryError")
    if isinstance(error, OSError):
        why = error.strerror or str(error)
        return _fail(OUTPUT.format(why=why) if error.filename is None else f"{error.filename}: {why}")
    return _misused(error)


def _misused(error: Exception) -> int:
    """Click's usage errors, which show themselves."""
    from whyclass.plain_text import clean

    show = getattr(error, "show", None)
    if show is None:
        raise error
    error.message = clean(str(getattr(error, "message", "")))  # type: ignore[attr-defined]
    show()
    code = int(getattr(error, "exit_code", 2))
    format_message = getattr(error, "format_message", lambda: error.message)  # type: ignore[attr-defined]
    _as_json("UsageError", str(format_message()), code)
    return code


def _loads(frame: FrameType | None) -> bool:
    """Whether a module is being loaded where a signal came."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def _ending() -> Iterator[list[int]]:
    """Signals that came to end this process: each raises KeyboardInterrupt, so that all is left in order."""
    heard: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        # somebody does not want to wait until all is left in order; or a module loads, of which some are
        # not made to be interrupted and abort the process (pybind11)
        if len(heard) > 1 or _loads(frame):
            os.write(2, f"{SAID}\n".encode())
            os._exit(128 + number)
        raise KeyboardInterrupt

    able = threading.current_thread() is threading.main_thread()
    mine = [
        number
        for number, usual in ENDING.items()
        if able and signal.getsignal(number) in (usual, signal.SIG_DFL)
    ]
    for number in mine:
        signal.signal(number, end)
    try:
        yield heard
    finally:
        for number in mine:  # what a stopped command still waits for at its very end, the next signal ends
            signal.signal(number, signal.SIG_DFL if heard else ENDING[number])

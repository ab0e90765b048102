"""Where the command line prints: nothing that a user's file is called acts on the terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from whyclass.plain_text import clean


class SafeConsole(Console):
    """A console whose texts are cleaned line by line, with no emoji made of ``:names:``."""

    def __init__(self, **given: Any) -> None:
        super().__init__(soft_wrap=True, emoji=False, **given)

    def render_str(self, text: str, **given: Any) -> Text:
        """Every text that comes as a ``str`` passes here."""
        return super().render_str("\n".join(map(clean, text.split("\n"))), **given)


VERSION = 1
"""Of the schemas of what ``--json`` prints: raised where a key goes or means something else."""


def say(schema: str, found: dict[str, Any]) -> None:
    """Print one JSON object; ``schema`` names its kind, by which ``report/schemas`` describes it."""
    named = {"schema": f"whyclass/{schema}/{VERSION}", **found}
    printed.append(schema)
    print(json.dumps(named, indent=2, allow_nan=False))


printed: list[str] = []
"""Kinds of the objects that this call has printed: an error makes no second one of them."""

out = SafeConsole()
err = SafeConsole(stderr=True)


def tolerant() -> None:
    """Let both streams take any text: what their encoding lacks is written as its number."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flushed() -> str | None:
    """Write out what is left for standard output; why that failed, or None."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        give_up(sys.stdout)
        return getattr(error, "strerror", None) or str(error)
    return None


def give_up(stream: IO[str]) -> None:
    """What is still to be written to a stream goes nowhere, so that leaving does not fail on it again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):  # it is no file of the system
        return

"""Commands as documents give them: one after the other, as a shell would see them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

ASSIGNED = re.compile(r"\w+=")


def command_lines(text: str) -> list[str]:
    """The lines of a document's blocks of commands, continued ones joined."""
    found: list[str] = []
    for kind, block in re.findall(r"^[ ]*```([^\n]*)\n(.*?)^[ ]*```$", text, re.MULTILINE | re.DOTALL):
        if kind in ("", "bash", "sh"):
            found += [line for line in re.sub(r"\\\n\s*", "", block).splitlines() if line.strip()]
    return found


def inline_commands(text: str) -> list[str]:
    """Spans of prose that are a command of this program."""
    prose = re.sub(r"^[ ]*```.*?^[ ]*```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`(whyclass [^`]+)`", prose)]


def words_of(lines: list[str]) -> Iterator[list[str]]:
    """Each line's words without comments, with the variables that lines before it set."""
    known: dict[str, str] = {}
    for line in lines:
        if line.startswith("#") or re.match(r"\w+=\$\(", line):  # a comment; what another program says
            continue
        for name, value in known.items():
            line = line.replace(f"${name}", value)
        words = shlex.split(line, comments=True)
        while words and ASSIGNED.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            known[name] = value
        if words:
            yield words

"""Text of others made safe to show: whatever a class or a file is called."""

from __future__ import annotations

import re

_SPACE = re.compile(r"[\t\n\r]")
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def clean(text: str) -> str:
    """Text without characters that could act on a terminal or a page: they become U+FFFD.

    Controls move a cursor, direction marks reorder what a reader sees, and lone surrogates (paths
    that are not UTF-8) cannot be written to a file at all. White space becomes a plain space.
    """
    return _UNSAFE.sub("\ufffd", _SPACE.sub(" ", text))

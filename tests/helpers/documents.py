"""What a document of the project holds."""

from __future__ import annotations

import re


def blocks(text: str) -> list[str]:
    """The Python blocks of a document."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

"""Addresses of images, such as ``s3://bucket/photos``, told from paths of this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeGuard

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")


def is_url(given: Any) -> TypeGuard[str]:
    """Whether it names something by an address, and not by a path here."""
    return isinstance(given, str) and _ADDRESS.match(given) is not None


def path_or_url(text: str) -> str | Path:
    """An address as it is, anything else as a path."""
    return text if is_url(text) else Path(text)


def holds_password(url: str) -> bool:
    """Whether an address holds one."""
    return re.search(r"://[^/@]*:[^/@]*@", url) is not None

"""How a record is shown: the package enters here what stands above the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

VIEWS: dict[str, Callable[[Any], Any]] = {}
"""By name: ``"html"`` makes a page, ``"fragment"`` a notebook's cell, ``"line"`` what ``repr`` gives,
``"terminal"`` what Rich prints; ``"frame"``, ``"figure"`` and ``"crops"`` are for ``to_frame``, ``plot`` and
``save_crops``."""
